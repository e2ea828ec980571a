package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// TestTheDiskIsFullAtEachStep lets each single change of the disk fail for
// want of space, while the process lives on. Whatever Flush was content with
// must be held ever after, and the next run makes everything whole.
func TestTheDiskIsFullAtEachStep(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		undisturbed := t.TempDir()
		a := mustOpen(t, undisturbed, Options{Format: f})
		if err := scenario(a); err != nil {
			t.Fatal(err)
		}
		want := contents(t, a)
		a.Close()
		for n := 0; ; n++ {
			dir := t.TempDir()
			var mu sync.Mutex
			count, failed := 0, ""
			a, err := Open(dir, Options{Format: f, Create: true, steps: func(name string) error {
				mu.Lock()
				defer mu.Unlock()
				// Points between phases are no changes; a rename, a link and a removal need no space.
				if !slices.Contains([]string{"create", "write", "mkdir", "sync"}, strings.Fields(name)[0]) || name == "sync" {
					return nil
				}
				if count++; count-1 == n {
					failed = name
					return &os.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
				}
				return nil
			}})
			content := false
			if err == nil {
				err = scenario(a)
				content = scenario(a) == nil // it goes on, with what space there is now
				if closed := a.Close(); err == nil {
					err = closed
				}
			}
			if failed == "" {
				break
			}
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Code != CodeFull) {
				t.Errorf("step %d, %s: %v", n, failed, err)
			}
			a = mustOpen(t, dir, Options{Format: f})
			if content {
				if got := contents(t, a); !maps.EqualFunc(got, want, slices.Equal) {
					t.Errorf("step %d, %s: reported as held, and is not:\n%v\nwant\n%v", n, failed, got, want)
				}
			}
			if err := scenario(a); err != nil {
				t.Fatalf("step %d, %s: %v", n, failed, err)
			}
			if got := contents(t, a); !maps.EqualFunc(got, want, slices.Equal) {
				t.Errorf("step %d, %s:\n%v\nwant\n%v", n, failed, got, want)
			}
			a.Close()
			if n%7 == 0 {
				invariants(t, dir)
			}
			if t.Failed() {
				return
			}
			os.RemoveAll(dir)
		}
	})
}

func TestASyncThatFailedIsFailedForAll(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &syncer{root: root, step: func(string) error { return nil }}
	f, err := root.Create("journal")
	if err != nil {
		t.Fatal(err)
	}
	s.written(f)
	f.Close() // so that its sync fails
	var told error
	for i := range 64 {
		g, err := root.Create(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		told = errors.Join(told, s.written(g)) // another account's messages
	}
	if told == nil {
		t.Fatal("the sweep is not what it says")
	}
	if s.files() == nil {
		t.Error("a commit is content although its journal was not synced")
	}
}

// TestManyAtOnce lets several accounts, two of them in one place, add to the
// same and to other mailboxes at once.
func TestManyAtOnce(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := t.TempDir()
		a := mustOpen(t, dir, Options{Format: f})
		moved := office
		moved.Host = "imap2.example.jp"
		other := Account{Name: "other", Protocol: "pop3", Host: "pop.example.jp", User: "taro"}
		again := office
		again.Name = "again" // the same maildrop under another name
		const each = 150
		var all sync.WaitGroup
		for i, acc := range []Account{office, moved, other, again} {
			all.Go(func() {
				rng := rand.New(rand.NewSource(int64(i)))
				e, err := a.Enroll(acc)
				if err != nil {
					t.Error(err)
					return
				}
				for _, name := range []string{"INBOX", "Archive"} {
					m, err := a.Mailbox(e, MailboxInfo{Name: name, Delimiter: "/"})
					if err != nil {
						t.Error(err)
						return
					}
					for _, n := range rng.Perm(each) {
						o := letter(n, strings.Repeat("body\r\n", n*10))
						if _, err := m.Add(meta(fmt.Sprint(n+1), o), strings.NewReader(o)); err != nil {
							t.Error(err)
							return
						}
						if n%40 == 0 {
							if err := a.Flush(); err != nil {
								t.Error(err)
							}
							if !held(t, m, fmt.Sprint(n+1), len(o)).Held {
								t.Errorf("%s: UID %d was flushed and is not held", acc.Name, n+1)
							}
						}
					}
				}
			})
		}
		all.Wait()
		flush(t, a)
		for _, m := range a.sortedMailboxes() {
			n := 0
			a.index.View(func(tx *dedupe.Tx) error {
				return tx.Entries(m.id, func(dedupe.Entry) error { n++; return nil })
			})
			if n != each {
				t.Errorf("%s: %d messages, want %d", m.path, n, each)
			}
		}
		a.Close()
		invariants(t, dir)
	})
}

func TestTwoAccountsInOnePlaceKeepTheirEpochs(t *testing.T) {
	a := mustOpen(t, t.TempDir(), Options{})
	defer a.Close()
	moved := office
	moved.Host = "imap2.example.jp"
	first, _ := a.Enroll(office)
	second, _ := a.Enroll(moved)
	m1, err := a.Mailbox(first, MailboxInfo{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	m2, err := a.Mailbox(second, MailboxInfo{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	add(t, m1, "1", letter(1, "x"))
	flush(t, a)
	if !held(t, m1, "1", -1).Held || held(t, m2, "1", -1).Held {
		t.Error("what one server calls 1 is taken for what the other calls 1")
	}
}

func TestLostAccountsMakeNoServerAnother(t *testing.T) {
	dir := filled(t, Maildir, 1)
	os.Remove(inArchive(dir, accountsFile))
	a := mustOpen(t, dir, Options{})
	defer a.Close()
	moved := office
	moved.Host = "imap2.example.jp"
	e, err := a.Enroll(moved)
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Mailbox(e, MailboxInfo{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	if held(t, m, "1", -1).Held {
		t.Error("a message of another server is called held")
	}
}

func TestNoRecordIsTooLongToRead(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := t.TempDir()
		a := mustOpen(t, dir, Options{Format: f})
		m := box(t, a, "INBOX")
		var flags []string
		for i := range 20000 {
			flags = append(flags, fmt.Sprintf("<%d>%s", i, strings.Repeat("<", 50)))
		}
		o := "Message-ID: <" + strings.Repeat("\x01&\xff", 80000) + ">\r\n\r\nx\r\n"
		add(t, m, "1", o, flags...)
		flush(t, a)
		m.SetFlags(1, flags[5:])
		a.Close()
		os.Remove(inArchive(dir, indexFile))
		a = mustOpen(t, dir, Options{})
		if bodyOf(t, box(t, a, "INBOX"), "1") != o {
			t.Error("not as it was")
		}
		if len(a.Notes()) != 1 {
			t.Errorf("%+v", a.Notes())
		}
		a.Close()
		invariants(t, dir)
	})
}

func TestAFileNameThatIsNotUTF8(t *testing.T) {
	dir := filled(t, Maildir, 1)
	p := filepath.Join(dir, "office", "INBOX", "cur", "1\xe8\xa6.host:2,S")
	if err := os.WriteFile(p, []byte("Subject: mine\n\nx\n"), 0o600); err != nil {
		t.Skip("this file system takes no such name")
	}
	a := mustOpen(t, dir, Options{})
	for range 2 {
		if _, err := a.Verify(context.Background(), VerifyOptions{Repair: true}); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	invariants(t, dir)
}

func TestAnMboxThatChangesDuringARun(t *testing.T) {
	stranger := "From stranger@example.com Mon Mar  2 10:00:00 2020\nSubject: mine\n\n" + strings.Repeat("not yours\n", 500) + "\n"
	for _, c := range []struct {
		name   string
		change func(t *testing.T, p string)
		steps  string // when; "" between two commits
		fails  bool
	}{
		{"another appends", func(t *testing.T, p string) { appendTo(t, p, stranger) }, "", false},
		{"the first message is taken out, and one is added", func(t *testing.T, p string) {
			octets, _ := os.ReadFile(p)
			i := bytes.Index(octets, []byte("\n\nFrom ")) + 2
			os.WriteFile(p, append(octets[i:], stranger...), 0o600)
		}, "", true},
		{"emptied", func(t *testing.T, p string) { os.Truncate(p, 0) }, "", true},
		{"another appends without a lock in the middle of a commit", func(t *testing.T, p string) { appendTo(t, p, stranger) }, "publish", true},
		{"replaced in the middle of a commit", func(t *testing.T, p string) {
			octets, _ := os.ReadFile(p)
			os.WriteFile(p+".tmp", octets, 0o600)
			os.Rename(p+".tmp", p)
		}, "publish", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filled(t, Mbox, 4)
			p := mailFile(t, dir, Mbox, 0)
			armed := false
			a, err := open(dir, Options{steps: func(s string) error {
				if armed && s == c.steps {
					armed = false
					c.change(t, p)
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			m := box(t, a, "INBOX")
			add(t, m, "5", letter(4, "From me\r\n"))
			flush(t, a)
			if c.steps == "" {
				c.change(t, p)
			}
			armed = true
			add(t, m, "6", letter(5, "From me\r\n"))
			if err := a.Flush(); (err != nil) != c.fails {
				t.Errorf("flush: %v", err)
			}
			a.Close()
			now, _ := os.ReadFile(p)
			if c.name != "emptied" && c.name[:8] != "replaced" && !bytes.Contains(now, []byte(stranger)) {
				t.Error("another's octets were written over")
			}
			a = mustOpen(t, dir, Options{})
			m = box(t, a, "INBOX")
			for i := range 6 {
				ans := held(t, m, fmt.Sprint(i+1), -1)
				there := bytes.Contains(now, []byte(fmt.Sprintf("<%d@example.jp>", i)))
				if ans.Held != there && i < 5 {
					t.Errorf("message %d: held %v, there %v", i+1, ans.Held, there)
				}
				if ans.Held {
					bodyOf(t, m, fmt.Sprint(i+1))
				}
			}
			a.Close()
		})
	}
}

// TestAFailedAppendCutsOnlyItsOwn fails after the entry was written, and after
// a program that knows no locks wrote behind it.
func TestAFailedAppendCutsOnlyItsOwn(t *testing.T) {
	stranger := "From stranger@example.com Mon Mar  2 10:00:00 2020\nSubject: mine\n\nnot yours\n\n"
	for _, behind := range []string{"", stranger} {
		dir := filled(t, Mbox, 3)
		p := mailFile(t, dir, Mbox, 0)
		before, _ := os.ReadFile(p)
		a, err := open(dir, Options{steps: func(s string) error {
			if s != "sync mbox" {
				return nil
			}
			appendTo(t, p, behind)
			return &os.PathError{Op: "sync", Path: p, Err: syscall.ENOSPC}
		}})
		if err != nil {
			t.Fatal(err)
		}
		add(t, box(t, a, "INBOX"), "4", letter(3, "From me\r\n"))
		var e *Error
		if err := a.Flush(); !errors.As(err, &e) || e.Code != CodeFull {
			t.Errorf("%v", err)
		}
		a.Close()
		if now, _ := os.ReadFile(p); behind == "" && !bytes.Equal(now, before) || !bytes.HasSuffix(now, []byte(behind)) {
			t.Errorf("%q behind: the mbox ends in %q", behind, now[len(before):])
		}
		a = mustOpen(t, dir, Options{})
		if got := countHeld(t, a, 4); got != 3 && behind == "" || got < 3 {
			t.Errorf("%d held", got)
		}
		a.Close()
	}
}

func appendTo(t *testing.T, p, octets string) {
	t.Helper()
	f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString(octets)
}

func TestAMailProgramIsQuicker(t *testing.T) {
	dir := filled(t, Maildir, 2)
	a := mustOpen(t, dir, Options{})
	m := box(t, a, "INBOX")
	seq := held(t, m, "1", -1).Seq
	cur := filepath.Join(dir, "office", "INBOX", "cur")
	list, _ := os.ReadDir(cur)
	for _, e := range list { // after our looking, before our renaming
		os.Rename(filepath.Join(cur, e.Name()), filepath.Join(cur, e.Name()+"S"))
	}
	if bodyOf(t, m, "2") != letter(1, "From me\r\n") {
		t.Error("not found under its new name")
	}
	m.SetFlags(seq, []string{`\Flagged`})
	flush(t, a)
	v, err := a.Verify(context.Background(), VerifyOptions{})
	if err != nil || v.Mailboxes[0].Sound != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	a.Close()
	list, _ = os.ReadDir(cur)
	flagged := 0
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ":2,FS") {
			flagged++
		}
	}
	if flagged != 1 {
		t.Errorf("%v", list)
	}
	invariants(t, dir)
}

func TestALargeMessageIsLinkedToo(t *testing.T) {
	for _, c := range []struct {
		name  string
		links bool
	}{{"links", true}, {"no links", false}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			a, err := open(dir, Options{Format: Maildir, Create: true, steps: func(s string) error {
				if !c.links && strings.HasPrefix(s, "link ") {
					return syscall.EPERM
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			large := letter(1, strings.Repeat("0123456789abcdef\r\n", 60000))
			add(t, box(t, a, "INBOX"), "1", large)
			add(t, box(t, a, "All"), "1", large)
			flush(t, a)
			if body := bodyOf(t, box(t, a, "All"), "1"); body != large {
				t.Error("another message")
			}
			a.Close()
			var files []os.FileInfo
			for _, m := range []string{"INBOX", "All"} {
				list, _ := os.ReadDir(filepath.Join(dir, "office", m, "cur"))
				fi, err := list[0].Info()
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, fi)
			}
			if os.SameFile(files[0], files[1]) != c.links {
				t.Errorf("linked: %v", !c.links)
			}
			invariants(t, dir)
		})
	}
}

func TestFileSystemsThatCannot(t *testing.T) {
	for _, c := range []struct {
		name, step string
		err        error
		code       string
	}{
		{"rename", "rename ", syscall.EOPNOTSUPP, CodeNoRename},
		{"be written", "create ", syscall.EROFS, CodeReadOnly},
		{"be entered", "mkdir ", syscall.EACCES, CodeReadOnly},
		{"hold more", "write ", syscall.EDQUOT, CodeFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(t.TempDir(), Options{Create: true, steps: func(s string) error {
				if strings.HasPrefix(s, c.step) {
					return &os.PathError{Op: c.step, Path: s, Err: c.err}
				}
				return nil
			}})
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

// TestAPageOfTheIndexIsGone overwrites each page in turn. The run that meets
// the damage may fail; the next one must not.
func TestAPageOfTheIndexIsGone(t *testing.T) {
	dir := filled(t, Maildir, 60)
	index := inArchive(dir, indexFile)
	whole, _ := os.ReadFile(index)
	for at := 0; at+4096 <= min(len(whole), 40*4096); at += 4096 {
		if bytes.Count(whole[at:at+4096], []byte{0}) == 4096 {
			continue
		}
		bad := bytes.Clone(whole)
		copy(bad[at:], bytes.Repeat([]byte{0xa5}, 4096))
		os.WriteFile(index, bad, 0o600)
		if a, err := Open(dir, Options{}); err == nil {
			e, err := a.Enroll(office)
			if err == nil {
				var m *Mailbox
				if m, err = a.Mailbox(e, MailboxInfo{Name: "INBOX"}); err == nil {
					m.Add(meta("61", "new"), strings.NewReader("new")) // may fail
					m.Ask(60, func(i int) Query { return Query{UIDValidity: 7, UID: fmt.Sprint(i + 1), Size: -1} }, func(int, Answer) {})
					a.Flush()
				}
			}
			a.Close()
		}
		a := mustOpen(t, dir, Options{})
		if got := countHeld(t, a, 60); got != 60 {
			t.Errorf("page %d: %d of 60 held", at/4096, got)
		}
		a.Close()
	}
	invariants(t, dir)
}

func TestABatchIsBounded(t *testing.T) {
	a := mustOpen(t, t.TempDir(), Options{Format: Mbox})
	defer a.Close()
	largest := func() (records, boxes int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if b := a.committer.open; b != nil {
			return b.records, len(b.boxes)
		}
		return 0, 0
	}
	for i := range 250 {
		add(t, box(t, a, fmt.Sprintf("box%d", i)), "1", letter(i, ""))
		if _, n := largest(); n >= batchMailboxes {
			t.Fatalf("%d mailboxes, each open and locked at once", n)
		}
	}
	m := box(t, a, "box1")
	for range 2*batchRecords + 1 {
		m.SetFlags(1, []string{`\Seen`})
		if n, _ := largest(); n > batchRecords {
			t.Fatalf("%d records wait in memory", n)
		}
	}
}

func TestFlagsChangeTwiceInOneBatch(t *testing.T) {
	dir := filled(t, Maildir, 1)
	a := mustOpen(t, dir, Options{})
	m := box(t, a, "INBOX")
	m.SetFlags(1, []string{`\Seen`})
	m.SetFlags(1, nil)
	a.Close()
	if p := mailFile(t, dir, Maildir, 0); !strings.HasSuffix(p, ":2,") {
		t.Error(p)
	}
	invariants(t, dir)
}

// TestAMessageWithALargeDate: not every file system can keep every time.
func TestAMessageWithALargeDate(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := t.TempDir()
		a := mustOpen(t, dir, Options{Format: f})
		m := box(t, a, "INBOX")
		for i, o := range []string{letter(1, "small"), letter(2, strings.Repeat("large\r\n", 100000))} {
			for j, when := range []time.Time{time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} {
				o += fmt.Sprint(j)
				if _, err := m.Add(Meta{Query: Query{UIDValidity: 7, UID: fmt.Sprint(2*i + j + 1), Size: -1}, InternalDate: when}, strings.NewReader(o)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		invariants(t, dir)
	})
}
