package mbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// staleAfter is when a dotlock that nobody touches counts as left behind,
	// whoever made it. Mail programs agree on minutes, not on how many.
	staleAfter = 10 * time.Minute
	// touchEvery keeps a lock of ours from looking stale.
	touchEvery = time.Minute

	firstWait = 20 * time.Millisecond
	lastWait  = 500 * time.Millisecond

	// maxHolder bounds what is read of a dotlock.
	maxHolder = 512
)

// LockedError says that another program holds the lock of an mbox.
type LockedError struct {
	Path string
	PID  int    // of the holder; 0 if it does not tell
	Host string // where that process runs; "" if it does not tell
	Err  error  // why the waiting ended: the context's error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("mbox %s is locked by %s: %v", e.Path, e.Holder(), e.Err)
}

// Holder names the holder as far as it is known.
func (e *LockedError) Holder() string {
	switch {
	case e.PID > 0 && e.Host != "":
		return fmt.Sprintf("process %d on %s", e.PID, e.Host)
	case e.PID > 0:
		return fmt.Sprintf("process %d", e.PID)
	}
	return "another program"
}

func (e *LockedError) Unwrap() error { return e.Err }

// ErrLockLost is what unlock returns if the dotlock was not ours any more:
// another program may have written to the mbox meanwhile.
var ErrLockLost = errors.New("the mbox lock was taken away")

// Lock takes the two locks by which mail programs keep out of each other's way:
// the dotlock, a file path+".lock", and the lock of the operating system on f
// (fcntl; on Windows LockFileEx), which must be path opened for writing. Where
// the file system has no such locks, the dotlock alone stands for both.
//
// It tries at least once and waits until ctx ends; then the error is a
// *LockedError that names the holder. A dotlock is taken away from a process
// that no longer runs on this computer, and from anybody if it is 10 minutes
// old; while held, it is touched every minute. It holds the process and the
// computer as "PID:HOST", which Dovecot writes and reads too.
//
// unlock may be called once more without effect; f must still be open. Where
// fcntl knows no locks of an open file (other than on Linux), closing any other
// descriptor of the same file in this process gives the operating system's lock
// away early; the dotlock stays.
func Lock(ctx context.Context, f *os.File, path string) (unlock func() error, err error) {
	host, err := os.Hostname()
	if err != nil || strings.ContainsAny(host, ":\n") {
		host = "unknown-host" // never equal to another's: their locks count by age alone
	}
	l := &lock{f: f, path: path, dot: path + ".lock", host: host}
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		held, err := l.try()
		if err != nil {
			return nil, err
		}
		if held == nil {
			l.stop = make(chan struct{})
			l.stopped.Go(l.touch)
			return sync.OnceValue(l.unlock), nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			held.Path, held.Err = path, context.Cause(ctx)
			return nil, held
		case <-timer.C:
		}
	}
}

type lock struct {
	f         *os.File
	path, dot string
	host      string
	mine      fs.FileInfo // of the dotlock
	refused   int         // how often the file system refused for a passing reason
	stop      chan struct{}
	stopped   sync.WaitGroup
}

// try takes both locks or none. A program that takes them in the other order
// and waits for ours can then go on.
func (l *lock) try() (held *LockedError, err error) {
	if held, err = l.tryDot(); held != nil || err != nil {
		return held, err
	}
	pid, err := lockFile(l.f)
	switch {
	case err == nil, errors.Is(err, errNoLocks):
		return nil, nil
	case errors.Is(err, errHeld):
		held = &LockedError{PID: pid}
		if pid > 0 {
			held.Host = l.host
		}
		return held, l.removeDot()
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", l.path, err), l.removeDot())
}

// own are the locks whose dotlock this process holds. In a container each run
// has the same process id: a dotlock with ours in it may be from an earlier run.
var own = struct {
	sync.Mutex
	locks map[*lock]bool
}{locks: map[*lock]bool{}}

// isOwn reports whether a dotlock with our process id is really ours.
func isOwn(dot fs.FileInfo) bool {
	own.Lock()
	defer own.Unlock()
	for l := range own.locks {
		if os.SameFile(l.mine, dot) {
			return true
		}
	}
	return false
}

// tryDot makes the dotlock.
func (l *lock) tryDot() (*LockedError, error) {
	held, err := l.makeDot()
	if errors.Is(err, fs.ErrExist) {
		return l.judge()
	}
	return held, err
}

func (l *lock) makeDot() (*LockedError, error) {
	own.Lock() // until it is in own, nobody may take it for left behind
	defer own.Unlock()
	d, err := os.OpenFile(l.dot, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case err == nil:
	case isPassing(err) && l.refused < 10:
		l.refused++
		return &LockedError{}, nil
	default:
		return nil, err
	}
	_, err = d.WriteString(strconv.Itoa(os.Getpid()) + ":" + l.host)
	if err == nil {
		l.mine, err = d.Stat()
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(l.dot))
	}
	own.locks[l] = true
	return nil, nil
}

// judge looks at somebody's dotlock and removes it if nobody can be behind it.
func (l *lock) judge() (*LockedError, error) {
	held := &LockedError{}
	d, err := os.Open(l.dot)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || isPassing(err) {
			return held, nil // just given back
		}
		return nil, err
	}
	defer d.Close()
	seen, err := d.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(d, maxHolder))
	if err != nil {
		return nil, err
	}
	held.PID, held.Host = parseHolder(text)
	gone := held.PID > 0 && held.Host == l.host && !isRunning(held.PID)
	if held.PID == os.Getpid() && held.Host == l.host {
		gone = !isOwn(seen)
	}
	if !gone && time.Since(seen.ModTime()) < staleAfter {
		return held, nil
	}
	// Another process may have removed it, and taken the lock, since it was
	// read. What is left of that window the lock on the mbox itself closes.
	now, err := os.Lstat(l.dot)
	if err != nil || !os.SameFile(seen, now) || !now.ModTime().Equal(seen.ModTime()) {
		return held, nil
	}
	d.Close() // Windows removes no open file
	if err := os.Remove(l.dot); err != nil && !errors.Is(err, fs.ErrNotExist) && !isPassing(err) {
		return nil, err
	}
	return held, nil
}

// parseHolder reads "PID:HOST", or the PID alone, as some programs write it.
func parseHolder(text []byte) (pid int, host string) {
	number, name, _ := bytes.Cut(bytes.TrimSpace(text), []byte{':'})
	pid, err := strconv.Atoi(string(number))
	if err != nil || pid <= 0 {
		return 0, ""
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return pid, "" // it may be shown to a person
		}
	}
	return pid, string(name)
}

// touch keeps the dotlock young.
func (l *lock) touch() {
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			if l.isMine() {
				os.Chtimes(l.dot, now, now) // failing means only that it ages
			}
		}
	}
}

func (l *lock) isMine() bool {
	now, err := os.Lstat(l.dot)
	return err == nil && os.SameFile(l.mine, now)
}

func (l *lock) unlock() error {
	close(l.stop)
	l.stopped.Wait()
	return errors.Join(unlockFile(l.f), l.removeDot())
}

// removeDot gives the dotlock back, if it is still ours to give.
func (l *lock) removeDot() error {
	defer func() {
		own.Lock()
		delete(own.locks, l)
		own.Unlock()
	}()
	if !l.isMine() {
		return fmt.Errorf("%s: %w", l.dot, ErrLockLost)
	}
	// On Windows it cannot be removed in the moment that somebody reads it.
	for wait := time.Millisecond; ; wait *= 2 {
		err := os.Remove(l.dot)
		if !isPassing(err) || wait > time.Second {
			return err
		}
		time.Sleep(wait)
	}
}

// What lockFile may return besides the errors of the system.
var (
	errHeld    = errors.New("held by another program")
	errNoLocks = errors.New("no locks on this file system")
)
