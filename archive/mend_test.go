package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCrashWhileMending stops the mending of an archive that has everything
// wrong with it before each single change of the disk, and again while it goes
// on from there.
func TestCrashWhileMending(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		broken := breakEverything(t, f)
		mend := func(dir string, repair bool) (map[string][]string, error) {
			a, err := open(dir, Options{})
			if err != nil {
				return nil, err
			}
			defer a.Close()
			if repair {
				if _, err := a.Verify(context.Background(), VerifyOptions{Repair: true}); err != nil {
					return nil, err
				}
			}
			for name, n := range map[string]int{"INBOX": 8, "Archive": 6, "A:B": 5} { // fetched once more
				m := box(t, a, name)
				for i := range n {
					o := letter(i, name+"\r\nFrom me\r\n")
					if !held(t, m, fmt.Sprint(i+1), len(o)).Held {
						add(t, m, fmt.Sprint(i+1), o)
					}
				}
			}
			if err := a.Flush(); err != nil {
				return nil, err
			}
			return contents(t, a), nil
		}
		copied := func() string {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(broken)); err != nil {
				t.Fatal(err)
			}
			return dir
		}
		dir := copied()
		want, err := mend(dir, true) // only then do journals and index agree on the damaged line
		if err != nil {
			t.Fatal(err)
		}
		if len(want["INBOX"]) != 8 || len(want["Archive"]) != 6 || len(want["A:B"]) != 5 {
			t.Fatalf("%v", want)
		}
		invariants(t, dir)
		for n := 0; ; n++ {
			dir := copied()
			crashed := ""
			for _, at := range []int{n, n % 7, n % 11} {
				count := 0
				stopped := false
				a, err := open(dir, Options{steps: func(s string) error {
					if count++; count > at {
						stopped = true
						crashed = s
					}
					if stopped {
						return errCrash
					}
					return nil
				}})
				if err == nil {
					if n%3 > 0 {
						_, err = a.Verify(context.Background(), VerifyOptions{Repair: true})
					}
					if err == nil {
						e, _ := a.Enroll(office)
						if m, err := a.Mailbox(e, MailboxInfo{Name: "A:B", Delimiter: "/"}); err == nil { // claims it
							m.Add(meta("1", ""), strings.NewReader(letter(0, "A:B\r\nFrom me\r\n")))
							a.Flush()
						}
					}
					a.abandon()
				}
				if at == n && !stopped {
					if n < 25 {
						t.Errorf("%d steps: the sweep is not what it says", n)
					}
					return
				}
			}
			got, err := mend(dir, n%2 == 0)
			if err != nil {
				t.Fatalf("step %d, %s: %v", n, crashed, err)
			}
			if !maps.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("step %d, %s:\n%v\nwant\n%v", n, crashed, got, want)
			}
			if n%4 == 0 {
				invariants(t, dir)
			}
			if t.Failed() {
				return
			}
			os.RemoveAll(dir)
		}
	})
}

// breakEverything makes an archive of three mailboxes: one with a torn commit
// and a torn log, one with a damaged line and without a message, one whose
// journal is gone; the index is of another time, an mbox was rewritten.
func breakEverything(t *testing.T, f Format) (dir string) {
	t.Helper()
	dir = t.TempDir()
	a := mustOpen(t, dir, Options{Format: f})
	for _, x := range []struct {
		name string
		n    int
	}{{"INBOX", 6}, {"Archive", 6}, {"A:B", 5}} {
		m := box(t, a, x.name)
		for i := range x.n {
			add(t, m, fmt.Sprint(i+1), letter(i, x.name+"\r\nFrom me\r\n"))
		}
	}
	a.Close()
	writes := 0
	a, err := open(dir, Options{steps: func(s string) error {
		if s == "publish" {
			writes++
		}
		if writes > 0 && (strings.HasPrefix(s, "write ") || strings.HasPrefix(s, "rename ")) {
			if writes++; f == Mbox || writes > 2 {
				return errCrash
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := box(t, a, "INBOX")
	for i := range 8 {
		if i >= 6 {
			add(t, m, fmt.Sprint(i+1), letter(i, "INBOX\r\nFrom me\r\n"))
		}
	}
	if err := a.Flush(); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	a.abandon()
	appendTo(t, inArchive(dir, journalName(1)), "0badc0de {\"t\":\"mess")
	damageLine(t, inArchive(dir, journalName(2)), 3)
	os.Remove(inArchive(dir, journalName(3)))
	if f == Mbox {
		p := filepath.Join(dir, "office", "Archive.mbox")
		octets, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(p, octets[bytes.Index(octets, []byte("\n\nFrom "))+2:], 0o600)
	} else {
		list, _ := os.ReadDir(filepath.Join(dir, "office", "Archive", "cur"))
		os.Remove(filepath.Join(dir, "office", "Archive", "cur", list[0].Name()))
	}
	return dir
}
