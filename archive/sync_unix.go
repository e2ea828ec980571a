//go:build unix

package archive

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// syncFile: on macOS os.File.Sync is F_FULLFSYNC.
func syncFile(f *os.File) error { return f.Sync() }

func syncDirHandle(f *os.File) error {
	err := f.Sync()
	// QUIRK(FUSE, CIFS): folders cannot be synced there, which is said with one of these.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// isInUse: here an open file can be renamed.
func isInUse(error) bool { return false }

func renameDurable(d *disk, from, to string) error {
	return d.root.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}

func removeFile(d *disk, name string) error { return d.root.Remove(filepath.FromSlash(name)) }
