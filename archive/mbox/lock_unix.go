//go:build unix

package mbox

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes the fcntl write lock on all of f, without waiting. If another
// process has it, pid says which, or is 0.
func lockFile(f *os.File) (pid int, err error) {
	err = setLock(f, unix.F_WRLCK)
	switch {
	// A conflict is EAGAIN here and EACCES there (POSIX leaves the choice).
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l) == nil && l.Type != unix.F_UNLCK && l.Pid > 0 {
			pid = int(l.Pid)
		}
		return pid, errHeld
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return 0, errNoLocks
	}
	return 0, err
}

func unlockFile(f *os.File) error {
	err := setLock(f, unix.F_UNLCK)
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil // there was none
	}
	return err
}

func setLock(f *os.File, kind int16) error {
	for _, cmd := range lockCommands {
		l := unix.Flock_t{Type: kind, Whence: io.SeekStart}
		err := unix.FcntlFlock(f.Fd(), cmd, &l)
		for errors.Is(err, unix.EINTR) {
			err = unix.FcntlFlock(f.Fd(), cmd, &l)
		}
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return unix.EINVAL
}

// isRunning reports whether a process with this id exists.
func isRunning(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// isPassing: what Unix refuses, it refuses for good.
func isPassing(error) bool { return false }
