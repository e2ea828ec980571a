package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

func syncFile(f *os.File) error { return f.Sync() } // FlushFileBuffers

// syncDirHandle: Windows has no sync of a folder; renameDurable writes through.
func syncDirHandle(*os.File) error { return nil }

func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// isInUse: another program has the file open, and does not let it be renamed.
func isInUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// removeFile falls back to the plain call: os.Root deletes by a way that not
// every file system, redirector or version of Windows knows.
func removeFile(d *disk, name string) error {
	err := d.root.Remove(filepath.FromSlash(name))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Remove(filepath.Join(d.path, filepath.FromSlash(name)))
}

// renameDurable: os.Root has no write-through rename. Both names were made or
// escaped by us, and the folders were reached through the root before.
func renameDurable(d *disk, from, to string) error {
	f, err := windows.UTF16PtrFromString(longPath(filepath.Join(d.path, filepath.FromSlash(from))))
	if err != nil {
		return err
	}
	t, err := windows.UTF16PtrFromString(longPath(filepath.Join(d.path, filepath.FromSlash(to))))
	if err != nil {
		return err
	}
	// A virus scanner or an indexer holds a new file for a moment.
	for wait := time.Millisecond; ; wait *= 2 {
		err = windows.MoveFileEx(f, t, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
		if !errors.Is(err, windows.ERROR_SHARING_VIOLATION) && !errors.Is(err, windows.ERROR_ACCESS_DENIED) || wait > 2*time.Second {
			break
		}
		time.Sleep(wait)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// setModTime is a courtesy to other mail programs; the journal has the date.
func setModTime(f *os.File, t time.Time) {
	ft := windows.NsecToFiletime(t.UnixNano())
	windows.SetFileTime(windows.Handle(f.Fd()), nil, nil, &ft)
}

// longPath lifts the limit of 260 characters that the plain call has.
func longPath(p string) string {
	switch {
	case strings.HasPrefix(p, `\\?\`):
		return p
	case strings.HasPrefix(p, `\\`):
		return `\\?\UNC` + p[1:]
	}
	return `\\?\` + p
}
