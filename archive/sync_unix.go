//go:build unix && !linux

package archive

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func openWhole(*os.Root) *os.File { return nil }

func syncFS(*os.File) error { return errors.ErrUnsupported }

// syncFile: os.File.Sync is F_FULLFSYNC on macOS.
func syncFile(f *os.File) error { return f.Sync() }

func syncDirHandle(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func renameDurable(d *disk, from, to string) error {
	return d.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}
