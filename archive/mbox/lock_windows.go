package mbox

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockedAt is the high half of the offset that is locked, far behind the end of
// any mbox. A lock on Windows is binding: one on octets of the file would make
// the reading of another program, and of this one through another handle, fail.
const lockedAt = 0x40000000

// stillActive is the exit code of a process that runs (STILL_ACTIVE).
const stillActive = 259

// lockFile takes the lock without waiting. Windows does not tell who has it.
func lockFile(f *os.File) (pid int, err error) {
	at := windows.Overlapped{OffsetHigh: lockedAt}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	switch {
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return 0, errHeld
	case errors.Is(err, windows.ERROR_NOT_SUPPORTED), errors.Is(err, windows.ERROR_INVALID_FUNCTION):
		return 0, errNoLocks
	}
	return 0, err
}

func unlockFile(f *os.File) error {
	at := windows.Overlapped{OffsetHigh: lockedAt}
	err := windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_NOT_LOCKED) || errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
		return nil // there was none
	}
	return err
}

// isRunning reports whether a process with this id runs. In doubt it does.
func isRunning(pid int) bool {
	p, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return !errors.Is(err, windows.ERROR_INVALID_PARAMETER)
	}
	defer windows.CloseHandle(p)
	var code uint32
	return windows.GetExitCodeProcess(p, &code) != nil || code == stillActive
}

// isPassing reports whether err goes away by itself: a file that is just being
// removed, or that a virus scanner has open.
func isPassing(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_DELETE_PENDING)
}
