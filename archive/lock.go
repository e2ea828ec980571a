package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lock keeps a second process out of the archive. The operating system lets
// go of it when the process ends, however it ends; the owner file only says
// who it is.
type lock struct {
	d *disk
	f *flock.Flock
}

func acquire(d *disk, command string) (*lock, error) {
	if err := d.mkdir(ownDir); err != nil {
		return nil, err
	}
	l := &lock{d, flock.New(filepath.Join(d.path, filepath.FromSlash(lockFile)), flock.SetPermissions(0o600))}
	got, err := l.f.TryLock()
	if err != nil {
		return nil, err
	}
	if !got {
		owner, _ := d.read(ownerFile)
		return nil, &Error{Code: CodeLocked, Path: d.path, Text: strings.TrimSpace(string(owner))}
	}
	host, _ := os.Hostname()
	text := fmt.Sprintf("fumibako %s, process %d on %s, since %s\n", command, os.Getpid(), host, time.Now().Format("2006-01-02 15:04"))
	f, err := d.openFile(ownerFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		l.f.Unlock()
		return nil, err
	}
	return l, nil
}

func (l *lock) release() {
	removeFile(l.d, ownerFile)
	l.f.Unlock()
}
