package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// The archive's own folder and what lies in it.
const (
	ownDir       = ".fumibako"
	markerFile   = ownDir + "/archive.toml"
	accountsFile = ownDir + "/accounts.log"
	journalDir   = ownDir + "/journal"
	spoolDir     = ownDir + "/spool"
	recoveredDir = ownDir + "/recovered"
	indexFile    = ownDir + "/index.db"
	lockFile     = ownDir + "/lock"
	ownerFile    = ownDir + "/owner"
	statusFile   = ownDir + "/status.json"
)

// disk is all access to the archive's file system. Paths are relative, with
// slashes; nothing outside the root can be reached, through links neither.
type disk struct {
	root  *os.Root
	path  string // absolute; for messages and for what has no call in os.Root
	sync  *syncer
	steps func(step string) error // nil outside tests: called before each step that changes the disk; an error stops it
}

// step is passed before each change of the disk, and at the named points
// between the phases of a commit. A test makes one of them, and all that
// follow, fail: what is then on the disk is what a kill would have left.
func (d *disk) step(name string) error {
	if d.steps == nil {
		return nil
	}
	return d.steps(name)
}

func (d *disk) open(name string) (*os.File, error) { return d.root.Open(filepath.FromSlash(name)) }

func (d *disk) openFile(name string, flag int) (*os.File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		if err := d.step("create " + name); err != nil {
			return nil, err
		}
	}
	return d.root.OpenFile(filepath.FromSlash(name), flag, 0o600)
}

func (d *disk) read(name string) ([]byte, error) { return d.root.ReadFile(filepath.FromSlash(name)) }

func (d *disk) stat(name string) (fs.FileInfo, error) { return d.root.Lstat(filepath.FromSlash(name)) }

func (d *disk) remove(name string) error {
	if err := d.step("remove " + name); err != nil {
		return err
	}
	return removeFile(d, name)
}

func (d *disk) write(f *os.File, p []byte) error {
	if err := d.step("write " + f.Name()); err != nil {
		f.Write(p[:len(p)/2]) // a kill may leave half of it
		return err
	}
	_, err := f.Write(p)
	return err
}

func (d *disk) truncate(f *os.File, size int64) error {
	if err := d.step("truncate " + f.Name()); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return syncFile(f)
}

// stepWriter is write as an io.Writer.
type stepWriter struct {
	d *disk
	f *os.File
}

func (w stepWriter) Write(p []byte) (int, error) {
	if err := w.d.write(w.f, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *disk) mkdir(name string) error {
	if fi, err := d.stat(name); err == nil && fi.IsDir() {
		return nil
	}
	if err := d.step("mkdir " + name); err != nil {
		return err
	}
	if err := d.root.MkdirAll(filepath.FromSlash(name), 0o700); err != nil {
		return err
	}
	// Each level may be new, and a folder is only there for certain once its
	// parent says so.
	for p := name; p != "."; p = path.Dir(p) {
		d.sync.dirChanged(path.Dir(p))
	}
	return nil
}

func (d *disk) rename(from, to string) error {
	if err := d.step("rename " + to); err != nil {
		return err
	}
	if err := renameDurable(d, from, to); err != nil {
		return err
	}
	d.sync.dirChanged(path.Dir(to))
	d.sync.dirChanged(path.Dir(from))
	return nil
}

func (d *disk) link(from, to string) error {
	if err := d.step("link " + to); err != nil {
		return err
	}
	if err := d.root.Link(filepath.FromSlash(from), filepath.FromSlash(to)); err != nil {
		return err
	}
	d.sync.dirChanged(path.Dir(to))
	return nil
}

// replace writes a small file whole, or leaves the old one.
func (d *disk) replace(name string, octets []byte) error {
	tmp := name + ".new"
	f, err := d.openFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	if err != nil {
		return err
	}
	err = d.write(f, octets)
	if err == nil {
		err = syncFile(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = d.rename(tmp, name)
	}
	if err == nil {
		err = d.syncDir(path.Dir(name))
	}
	return err
}

func (d *disk) syncDir(name string) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncDirHandle(f)
}

// entries calls fn for each entry of a folder, in no order, a few at a time.
func (d *disk) entries(name string, fn func(fs.DirEntry) error) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		list, err := f.ReadDir(1024)
		for _, e := range list {
			if err := fn(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d *disk) chtimes(name string, t time.Time) error {
	return d.root.Chtimes(filepath.FromSlash(name), t, t)
}

// failure makes an *Error of what the file system said.
func failure(p string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	code := CodeIO
	switch {
	case isFull(err):
		code = CodeFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		code = CodeReadOnly
	}
	return &Error{Code: code, Path: p, Err: err}
}
