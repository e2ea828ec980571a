package archive

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// syncer makes a batch of changes durable. Where one syncfs can be trusted it
// is one call; elsewhere each file and each folder that changed is synced by
// itself.
//
// It may be used by several goroutines.
type syncer struct {
	mu      sync.Mutex
	whole   *os.File // an open descriptor on the file system; nil: sync one by one
	root    *os.Root
	changed map[string]struct{} // folders whose entries changed since the last dirs call
	pending []*os.File          // written, to be synced and closed
	failed  error               // the first failure; see fail
	step    func(string) error
}

// fail makes every later call fail with err. The system tells of a failed write
// once, to whoever syncs next: a sync after it that succeeds proves nothing,
// whichever goroutine was told. The archive must be opened again.
func (s *syncer) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(err)
}

// keep is fail with mu held. It returns err.
func (s *syncer) keep(err error) error {
	if s.failed == nil {
		s.failed = err
	}
	return err
}

// written takes over an open file that must be durable, and closed, by the
// next files call.
func (s *syncer) written(f *os.File) error {
	if s.whole != nil {
		err := f.Close()
		if err != nil {
			s.fail(err)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, f)
	if len(s.pending) < 64 { // descriptors are scarce
		return nil
	}
	return s.keep(s.flush())
}

func (s *syncer) dirChanged(name string) {
	if s.whole != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = map[string]struct{}{}
	}
	s.changed[name] = struct{}{}
}

// files returns when every file given to written is on the disk, and with it
// every folder entry made so far.
func (s *syncer) files() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if err := s.step("sync files"); err != nil {
		return s.keep(err)
	}
	if s.whole != nil {
		return s.keep(syncFS(s.whole))
	}
	if err := s.flush(); err != nil {
		return s.keep(err)
	}
	return s.keep(s.dirs())
}

// flush and dirs are called with mu held.
func (s *syncer) flush() error {
	var errs []error
	for _, f := range s.pending {
		errs = append(errs, syncFile(f), f.Close())
	}
	s.pending = s.pending[:0]
	return errors.Join(errs...)
}

func (s *syncer) dirs() error {
	for name := range s.changed {
		f, err := s.root.Open(filepath.FromSlash(name))
		if err != nil {
			return err
		}
		err = syncDirHandle(f)
		f.Close()
		if err != nil {
			return err
		}
	}
	clear(s.changed)
	return nil
}

func (s *syncer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	if s.whole != nil {
		s.whole.Close()
	}
}
