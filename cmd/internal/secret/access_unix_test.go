//go:build unix

package secret

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// owned is a file of some user.
type owned struct {
	fs.FileInfo
	mode fs.FileMode
	uid  int
}

func (o owned) Mode() fs.FileMode { return o.mode }
func (o owned) Sys() any          { return &syscall.Stat_t{Uid: uint32(o.uid)} }

func TestOwnerOnly(t *testing.T) {
	me := os.Geteuid()
	for _, tc := range []struct {
		name string
		file owned
		want string
	}{
		{"mine", owned{mode: 0o600, uid: me}, ""},
		{"root's", owned{mode: 0o400, uid: 0}, ""},
		{"another's", owned{mode: 0o600, uid: me + 1}, CodeFileOwner},
		{"another's, open", owned{mode: 0o666, uid: me + 1}, CodeFileOwner},
		{"group may write", owned{mode: 0o620, uid: me}, CodeFilePermissions},
		{"others may run", owned{mode: 0o601, uid: me}, CodeFilePermissions},
	} {
		if got := ownerOnly(tc.file); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// A pipe that nobody writes to must not stop a run.
func TestFileThatIsAPipe(t *testing.T) {
	a := base()
	a.File = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(a.File, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	got, err := For(t.Context(), a, nil)
	demand(t, got, err, CodeFileIrregular, map[string]any{"path": a.File})
	if time.Since(start) > 5*time.Second {
		t.Error("it waited for a writer")
	}
}
