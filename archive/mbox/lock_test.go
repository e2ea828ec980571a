package mbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockRole makes the test binary a second program that holds a lock.
const lockRole = "FUMIBAKO_TEST_LOCK_FILE"

func TestMain(m *testing.M) {
	path := os.Getenv(lockRole)
	if path == "" {
		os.Exit(m.Run())
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = lockFile(f)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	bufio.NewReader(os.Stdin).ReadString('\n') // until the test lets go
	os.Exit(0)
}

func newMbox(t *testing.T) (f *os.File, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "INBOX.mbox")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, path
}

// soon is a context that ends before any test's patience.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func TestLock(t *testing.T) {
	f, path := newMbox(t)
	unlock, err := Lock(t.Context(), f, path)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	got, err := os.ReadFile(path + ".lock")
	if want := fmt.Sprintf("%d:%s", os.Getpid(), host); err != nil || string(got) != want {
		t.Errorf("the dotlock holds %q, want %q (%v)", got, want, err)
	}

	g, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = Lock(soon(t), g, path)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Host != host || locked.Path != path || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second Lock gave %v", err)
	}

	if err := unlock(); err != nil {
		t.Error(err)
	}
	if err := unlock(); err != nil {
		t.Errorf("a second unlock: %v", err)
	}
	if exists(path + ".lock") {
		t.Error("the dotlock is still there")
	}
	if unlock, err = Lock(soon(t), g, path); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockExcludes(t *testing.T) {
	_, path := newMbox(t)
	var inside, most, total int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for range 5 {
				unlock, err := Lock(t.Context(), f, path)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				total++
				most = max(most, inside)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				inside--
				mu.Unlock()
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most != 1 || total != 20 {
		t.Errorf("%d at once, %d in all", most, total)
	}
}

// gonePID gives the id of a process that has ended.
func gonePID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestForeignDotlock(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := gonePID(t)
	for _, tc := range []struct {
		name, text string
		age        time.Duration
		taken      bool
		holder     string
	}{
		{name: "process gone", text: fmt.Sprintf("%d:%s", gone, host), taken: true},
		{name: "process gone, with line end", text: fmt.Sprintf("%d:%s\n", gone, host), taken: true},
		{name: "our process id, but not our lock", text: fmt.Sprintf("%d:%s", os.Getpid(), host), taken: true},
		{name: "process runs", text: fmt.Sprintf("%d:%s", os.Getppid(), host), holder: fmt.Sprintf("process %d on %s", os.Getppid(), host)},
		{name: "elsewhere", text: fmt.Sprintf("%d:other.example", gone), holder: fmt.Sprintf("process %d on other.example", gone)},
		{name: "without a host", text: strconv.Itoa(gone) + "\n", holder: fmt.Sprintf("process %d", gone)},
		{name: "empty", text: "", holder: "another program"},
		{name: "something else", text: "locked!\x1b[2J", holder: "another program"},
		{name: "a host nobody should print", text: "7:\x1b[2J", holder: "process 7"},
		{name: "nearly stale", text: "", age: 9 * time.Minute, holder: "another program"},
		{name: "stale, empty", text: "", age: 11 * time.Minute, taken: true},
		{name: "stale, elsewhere", text: "7:other.example", age: 11 * time.Minute, taken: true},
		{name: "very long", text: strings.Repeat("9", 10000), holder: "another program"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, path := newMbox(t)
			dot := path + ".lock"
			if err := os.WriteFile(dot, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			then := time.Now().Add(-tc.age)
			if err := os.Chtimes(dot, then, then); err != nil {
				t.Fatal(err)
			}
			unlock, err := Lock(soon(t), f, path)
			if tc.taken {
				if err != nil {
					t.Fatal(err)
				}
				if err := unlock(); err != nil || exists(dot) {
					t.Errorf("unlock: %v, dotlock there: %v", err, exists(dot))
				}
				return
			}
			var locked *LockedError
			if !errors.As(err, &locked) || locked.Holder() != tc.holder {
				t.Errorf("Lock gave %v, want holder %q", err, tc.holder)
			}
			if got, err := os.ReadFile(dot); err != nil || string(got) != tc.text {
				t.Errorf("the dotlock of another was changed to %q (%v)", got, err)
			}
		})
	}
}

// TestForeignFileLock meets a program that knows the operating system's lock
// only: it is respected, and the dotlock is given back while waiting.
func TestForeignFileLock(t *testing.T) {
	f, path := newMbox(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockRole+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other program says %q (%v)", line, err)
	}
	_, err = Lock(soon(t), f, path)
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("Lock gave %v", err)
	}
	if exists(path + ".lock") {
		t.Error("the dotlock was left behind")
	}
	in.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	unlock, err := Lock(ctx, f, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

func TestLockLost(t *testing.T) {
	f, path := newMbox(t)
	unlock, err := Lock(t.Context(), f, path)
	if err != nil {
		t.Fatal(err)
	}
	// Another program takes it away and makes its own.
	if err := os.Rename(path+".lock", path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".lock", []byte("1:other.example"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); !errors.Is(err, ErrLockLost) {
		t.Errorf("unlock gave %v", err)
	}
	if !exists(path + ".lock") {
		t.Error("the other's dotlock was removed")
	}
}

func TestLockWhereNothingCanBeMade(t *testing.T) {
	f, _ := newMbox(t)
	_, err := Lock(soon(t), f, filepath.Join(t.TempDir(), "absent", "a.mbox"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lock gave %v", err)
	}
}
