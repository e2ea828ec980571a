package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// folder is a folder of the archive; here its files are reached by path.
type folder struct {
	d    *disk
	name string
}

func (d *disk) folder(name string) (*folder, error) { return &folder{d, name}, nil }

func (x *folder) close() {}

// add makes a new file with these octets and this time. It is handed over for
// syncing. An existing file of that name is an error.
func (x *folder) add(name string, octets []byte, when time.Time) error {
	f, err := x.d.openFile(x.name+"/"+name, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	if err != nil {
		return err
	}
	if err := x.d.write(f, octets); err != nil {
		f.Close()
		return err
	}
	setModTime(f, when)
	return x.d.sync.written(f)
}

// move renames from, in this folder, to a name in another.
func (x *folder) move(from string, other *folder, to string) error {
	return x.d.rename(x.name+"/"+from, other.name+"/"+to)
}

// eachFile calls fn for each regular file of an open folder.
func eachFile(dir *os.File, fn func(name string, size int64)) error {
	for {
		list, err := dir.ReadDir(1024)
		for _, e := range list {
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // another program renamed it under our eyes
			}
			if err != nil {
				return err
			}
			if fi.Mode().IsRegular() {
				fn(e.Name(), fi.Size())
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
