//go:build !linux

package archive

import (
	"os"
	"runtime"
)

// foreignFS: on Windows every file system is treated alike.
func foreignFS(*os.Root) bool { return runtime.GOOS == "windows" }

// entrySize returns the size of a file in an open folder.
func entrySize(_ *os.File, e os.DirEntry) (int64, error) {
	fi, err := e.Info()
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() {
		return -1, nil
	}
	return fi.Size(), nil
}
