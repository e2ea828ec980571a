package archive

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killDir names the archive to the process that TestKilled starts and kills.
const killDir = "FUMIBAKO_TEST_KILL_DIR"

func killed(n int) string { return letter(n, strings.Repeat("From a line\r\n", 1+n*n%700)) }

// TestKilled kills a real process at any moment. What it had said is held must
// be held, and nothing be there twice.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		addUntilKilled(dir)
	}
	forFormats(t, func(t *testing.T, f Format) {
		dir := filepath.Join(t.TempDir(), "archive")
		mustOpen(t, dir, Options{Format: f}).Close()
		rng := rand.New(rand.NewSource(time.Now().UnixNano()))
		said := map[string]bool{}
		for range 8 {
			c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
			c.Env = append(os.Environ(), killDir+"="+dir)
			var out bytes.Buffer
			c.Stdout, c.Stderr = &out, os.Stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(20+rng.Intn(400)) * time.Millisecond)
			c.Process.Kill()
			c.Wait()
			for sc := bufio.NewScanner(&out); sc.Scan(); {
				if uid, ok := strings.CutPrefix(sc.Text(), "held "); ok {
					said[uid] = true
				}
			}
			a := mustOpen(t, dir, Options{})
			m := box(t, a, "INBOX")
			for uid := range said {
				if ans := held(t, m, uid, -1); !ans.Held {
					t.Errorf("UID %s was said to be held", uid)
				}
			}
			v, err := a.Verify(context.Background(), VerifyOptions{})
			if err != nil || !v.Clean() || len(v.Mailboxes[0].Foreign) > 0 {
				t.Errorf("%+v, %v", v, err)
			}
			n := 0
			for _, list := range contents(t, a) {
				for i := range list {
					if i > 0 && list[i] == list[i-1] {
						t.Errorf("%s is there twice", list[i])
					}
					n++
				}
			}
			if n < len(said) {
				t.Errorf("%d messages, said were %d", n, len(said))
			}
			a.Close()
			if t.Failed() {
				return
			}
		}
		if len(said) == 0 {
			t.Error("nothing was ever said to be held: the test is not what it says")
		}
		invariants(t, dir)
	})
}

// addUntilKilled adds what is not held yet and says what is.
func addUntilKilled(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	a, err := Open(dir, Options{})
	fail(err)
	e, err := a.Enroll(office)
	fail(err)
	m, err := a.Mailbox(e, MailboxInfo{Name: "INBOX", Delimiter: "/"})
	fail(err)
	var added []string
	for n := 1; ; n++ {
		uid, o := fmt.Sprint(n), killed(n)
		is := false
		q := Query{UIDValidity: 7, UID: uid, Size: int64(len(o))}
		fail(m.Ask(1, func(int) Query { return q }, func(_ int, ans Answer) { is = ans.Held }))
		if is {
			continue
		}
		_, err := m.Add(Meta{Query: q, InternalDate: day}, strings.NewReader(o))
		fail(err)
		if added = append(added, uid); len(added) == 10 {
			fail(a.Flush())
			fmt.Println("held " + strings.Join(added, "\nheld "))
			added = added[:0]
		}
	}
}
