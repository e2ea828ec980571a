//go:build unix

package secret

import (
	"io/fs"
	"os"
	"syscall"
)

// openWithoutWaiting opens path for reading. O_NONBLOCK keeps a pipe that
// nobody writes to from holding us up.
func openWithoutWaiting(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// ownerOnly returns CodeFileOwner or CodeFilePermissions if others than this
// user (and root) may read or replace what is in the file, else "".
func ownerOnly(st fs.FileInfo) string {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return CodeFileOwner
	}
	if st.Mode().Perm()&0o077 != 0 {
		return CodeFilePermissions
	}
	return ""
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
