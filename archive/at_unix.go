//go:build unix

package archive

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// folder is an open folder of the archive. One call reaches a name in it,
// where a path from the root takes an open for each of its parts: with 20,000
// small files that is half the time of the disk work.
type folder struct {
	d    *disk
	name string
	f    *os.File
}

func (d *disk) folder(name string) (*folder, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	return &folder{d, name, f}, nil
}

func (x *folder) close() { x.f.Close() }

// add makes a new file with these octets and this time. It is handed over for
// syncing. An existing file of that name is an error.
func (x *folder) add(name string, octets []byte, when time.Time) error {
	if err := x.d.step("create " + name); err != nil {
		return err
	}
	fd, err := unix.Openat(int(x.f.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	stopped := x.d.step("write " + name)
	if stopped != nil {
		octets = octets[:len(octets)/2] // a kill may leave half of it
	}
	for len(octets) > 0 && err == nil {
		var n int
		if n, err = unix.Write(fd, octets); err == unix.EINTR {
			err = nil
		}
		octets = octets[max(0, n):]
	}
	if err == nil {
		err = stopped
	} else {
		err = &os.PathError{Op: "write", Path: name, Err: err}
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	tv := unix.NsecToTimeval(when.UnixNano())
	unix.Futimes(fd, []unix.Timeval{tv, tv}) // a courtesy: the journal has the date
	if x.d.sync.whole != nil {
		return os.NewSyscallError("close", unix.Close(fd))
	}
	return x.d.sync.written(os.NewFile(uintptr(fd), name))
}

// move renames from, in this folder, to a name in another.
func (x *folder) move(from string, other *folder, to string) error {
	if err := x.d.step("rename " + to); err != nil {
		return err
	}
	if err := unix.Renameat(int(x.f.Fd()), from, int(other.f.Fd()), to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	x.d.sync.dirChanged(x.name)
	x.d.sync.dirChanged(other.name)
	return nil
}

// eachFile calls fn for each regular file of an open folder. A large mailbox
// is read in every run, so it costs one call a file and no more.
func eachFile(dir *os.File, fn func(name string, size int64)) error {
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
			if err == unix.ENOENT {
				continue // another program renamed it under our eyes
			}
			if err != nil {
				return &os.PathError{Op: "stat", Path: name, Err: err}
			}
			if st.Mode&unix.S_IFMT == unix.S_IFREG {
				fn(name, st.Size)
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
