package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

var formats = []Format{Maildir, Mbox}

func forFormats(t *testing.T, fn func(t *testing.T, f Format)) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) { fn(t, f) })
	}
}

func mustOpen(t *testing.T, path string, o Options) *Archive {
	t.Helper()
	o.Create = true
	a, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// abandon lets go of an archive as a killed process would: nothing is written.
func (a *Archive) abandon() {
	a.fs.steps = func(string) error { return errCrash }
	a.fs.sync.step = a.fs.steps
	if a.committer != nil {
		a.committer.stop()
	}
	if a.index != nil {
		a.index.Close()
	}
	for _, m := range a.byID {
		m.store.settle()
	}
	if a.lock != nil {
		a.lock.f.Unlock()
	}
	if a.fs.sync.whole != nil {
		a.fs.sync.whole.Close()
	}
	a.fs.root.Close()
}

var errCrash = errors.New("crash")

var office = Account{Name: "office", Protocol: "imap", Host: "imap.example.jp", User: "taro@example.jp", Port: 993, Security: "tls"}

func box(t *testing.T, a *Archive, name string) *Mailbox {
	t.Helper()
	e, err := a.Enroll(office)
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Mailbox(e, MailboxInfo{Name: name, Delimiter: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func letter(n int, body string) string {
	return fmt.Sprintf("From: Hanako <hanako%d@example.jp>\r\nTo: taro@example.jp\r\nSubject: =?UTF-8?B?6KaL56mN?= %d\r\n"+
		"Date: Mon, 02 Mar 2020 10:%02d:00 +0900\r\nMessage-ID: <%d@example.jp>\r\n\r\n%s\r\n", n, n, n%60, n, body)
}

var day = time.Date(2020, 3, 2, 10, 0, 0, 0, time.FixedZone("", 9*3600))

func add(t *testing.T, m *Mailbox, uid string, octets string, flags ...string) Outcome {
	t.Helper()
	out, err := m.Add(meta(uid, octets, flags...), strings.NewReader(octets))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func meta(uid, octets string, flags ...string) Meta {
	return Meta{Query: Query{UIDValidity: 7, UID: uid, Size: int64(len(octets))}, InternalDate: day, Flags: flags}
}

func held(t *testing.T, m *Mailbox, uid string, size int) Answer {
	t.Helper()
	var ans Answer
	err := m.Ask(1, func(int) Query { return Query{UIDValidity: 7, UID: uid, Size: int64(size)} }, func(_ int, a Answer) { ans = a })
	if err != nil {
		t.Fatal(err)
	}
	return ans
}

func flush(t *testing.T, a *Archive) {
	t.Helper()
	if err := a.Flush(); err != nil {
		t.Fatal(err)
	}
}

// contents reads everything an archive holds: mailbox -> digests of its messages.
func contents(t *testing.T, a *Archive) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, m := range a.sortedMailboxes() {
		if err := m.store.look(true); err != nil {
			t.Fatal(err)
		}
		err := a.index.View(func(tx *dedupe.Tx) error {
			return tx.Entries(m.id, func(e dedupe.Entry) error {
				r, err := m.read(e)
				if err != nil {
					return fmt.Errorf("%s message %d: %w", m.path, e.Seq, err)
				}
				defer r.Close()
				h := sha256.New()
				if _, err := io.Copy(h, r); err != nil {
					return fmt.Errorf("%s message %d: %w", m.path, e.Seq, err)
				}
				all[m.info.Name] = append(all[m.info.Name], fmt.Sprintf("%x", h.Sum(nil)[:6]))
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all[m.info.Name])
	}
	return all
}

// dump renders the whole index; two archives that hold the same are alike but
// for what mbox offsets and file names owe to the order of arrival.
func (a *Archive) dump(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, m := range a.sortedMailboxes() {
		err := a.index.View(func(tx *dedupe.Tx) error {
			fmt.Fprintf(&b, "%s %s %+v\n", m.account, m.info.Name, tx.Progress(m.id))
			if err := tx.Entries(m.id, func(e dedupe.Entry) error {
				fmt.Fprintf(&b, " %+v\n", e)
				return nil
			}); err != nil {
				return err
			}
			return tx.Origins(m.id, 1, 7, func(k []byte, v dedupe.Bound) error {
				fmt.Fprintf(&b, " %q %+v\n", k, v)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// invariants opens an archive that no process holds and demands what must
// always be true: every record's file is sound, nothing is there without a
// record, the spool is empty, the index equals a rebuilt one.
func invariants(t *testing.T, path string) {
	t.Helper()
	a := mustOpen(t, path, Options{})
	defer a.Close()
	v, err := a.Verify(context.Background(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range v.Mailboxes {
		if len(m.Altered)+len(m.Lost)+len(m.Foreign) > 0 || m.Sound != m.Messages {
			t.Errorf("verify: %+v", m)
		}
	}
	a.fs.entries(spoolDir, func(e fs.DirEntry) error {
		t.Errorf("left in the spool: %s", e.Name())
		return nil
	})
	before := a.dump(t)
	if err := a.rebuild(); err != nil {
		t.Fatal(err)
	}
	if after := a.dump(t); after != before {
		t.Errorf("the index differs from a rebuilt one:\n%s\nrebuilt:\n%s", before, after)
	}
	if err := a.index.Check(); err != nil {
		t.Error(err)
	}
}

func TestAddIsHeldAfterReopening(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filepath.Join(t.TempDir(), "保管庫")
		a := mustOpen(t, dir, Options{Format: f})
		m := box(t, a, "仕事/見積")
		odd := []string{
			letter(1, "From the beginning\r\n>From here\r\n.\r\n"), "no header at all", "", "\n", "a\rb\r\n", "a\r\r\nb\r\n",
			"bare\nline ends\n", "mixed\r\nline\nends\r\n", "nul\x00 and 8-bit \xe8\xa6\r\n", "\r\n\r\n\r\n", "no final line end\r\nx", "ends in cr\r\n\r",
			"From a@b Mon Mar  2 10:00:00 2020\r\n\r\nbody\r\n", strings.Repeat("x", 3<<20), strings.Repeat("long\r\n", 400000) + "\r", strings.Repeat("y\r\n", 600000) + "z\n",
		}
		for i, o := range odd {
			if out := add(t, m, fmt.Sprint(i+1), o, `\Seen`, "仕事"); !out.Stored || out.Octets != int64(len(o)) {
				t.Errorf("%.20q: %+v", o, out)
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		a = mustOpen(t, dir, Options{})
		m = box(t, a, "仕事/見積")
		for i, o := range odd {
			ans := held(t, m, fmt.Sprint(i+1), len(o))
			if !ans.Held || ans.Flags != `\Seen 仕事` {
				t.Errorf("%.20q: %+v", o, ans)
			}
			if held(t, m, fmt.Sprint(i+1), len(o)+1).Held {
				t.Error("held with another size")
			}
			e := entryOf(t, m, ans.Seq)
			r, err := m.read(e)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(r, 4096))); err != nil || !strings.HasPrefix(o, string(got)) || len(o) <= 4096 && len(o) != len(got) {
				t.Errorf("%.20q: read back %.30q, %v", o, got, err)
			}
			r.Close()
			if equal, err := m.holds(e); !equal || err != nil {
				t.Errorf("%.20q: not equal, %v", o, err)
			}
		}
		a.Close()
		invariants(t, dir)
	})
}

func entryOf(t *testing.T, m *Mailbox, seq uint32) (e dedupe.Entry) {
	t.Helper()
	m.a.index.View(func(tx *dedupe.Tx) error {
		var ok bool
		if e, ok = tx.Entry(m.id, seq); !ok {
			t.Fatalf("no message %d", seq)
		}
		return nil
	})
	return e
}

func TestWhatCountsAsADuplicate(t *testing.T) {
	one := letter(1, "hello")
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, a *Archive, m *Mailbox)
		want   int // messages in INBOX
		linked bool
	}{
		{"same octets under a new UID", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", one)
			flush(t, a)
			if add(t, m, "2", one).Stored {
				t.Error("stored twice")
			}
		}, 1, false},
		{"same octets within one batch", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", one)
			if add(t, m, "2", one).Stored {
				t.Error("stored twice")
			}
		}, 1, false},
		{"a POP copy of an IMAP message: final line end added, NUL as 0x80", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", letter(1, "x\x00y"))
			flush(t, a)
			m = box(t, a, "INBOX") // another run: not listed beside the first
			if add(t, m, "2", letter(1, "x\x80y")+"\r\n").Stored {
				t.Error("stored twice")
			}
		}, 1, false},
		{"equal but for line ends, listed side by side", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", one)
			if !add(t, m, "2", one+"\r\n").Stored {
				t.Error("one of two listed messages is not kept")
			}
		}, 2, false},
		{"one Message-ID, two contents", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", letter(1, "first"))
			if !add(t, m, "2", letter(1, "second")).Stored {
				t.Error("another message was taken for a duplicate")
			}
		}, 2, false},
		{"no Message-ID", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", "Subject: a\r\n\r\nfirst\r\n")
			add(t, m, "2", "Subject: a\r\n\r\nsecond\r\n")
			if add(t, m, "3", "Subject: a\r\n\r\nfirst\r\n").Stored {
				t.Error("stored twice")
			}
		}, 2, false},
		{"the same letter in another mailbox", func(t *testing.T, a *Archive, m *Mailbox) {
			add(t, m, "1", one)
			flush(t, a)
			out := add(t, box(t, a, "Archive"), "1", one)
			if !out.Stored {
				t.Error("a mailbox is not complete by itself")
			}
			if (out.CopyOctets > 0) != (a.marker.Format == Mbox) {
				t.Errorf("copy of %d octets", out.CopyOctets)
			}
		}, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			forFormats(t, func(t *testing.T, f Format) {
				dir := t.TempDir()
				a := mustOpen(t, dir, Options{Format: f})
				c.do(t, a, box(t, a, "INBOX"))
				flush(t, a)
				if got := len(contents(t, a)["INBOX"]); got != c.want {
					t.Errorf("%d messages, want %d", got, c.want)
				}
				if c.linked && f == Maildir {
					one, two := entryOf(t, box(t, a, "INBOX"), 1), entryOf(t, box(t, a, "Archive"), 1)
					p := func(m string, e dedupe.Entry) fs.FileInfo {
						fi, err := os.Stat(filepath.Join(dir, "office", m, "cur", e.Where+":2,"))
						if err != nil {
							t.Fatal(err)
						}
						return fi
					}
					if !os.SameFile(p("INBOX", one), p("Archive", two)) {
						t.Error("no hard link")
					}
				}
				a.Close()
				invariants(t, dir)
			})
		})
	}
}

func TestAShortReaderKeepsNothing(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := t.TempDir()
		a := mustOpen(t, dir, Options{Format: f})
		m := box(t, a, "INBOX")
		for _, n := range []int{10, 70000, 3 << 20} {
			r := io.MultiReader(bytes.NewReader(make([]byte, n)), iotest.ErrReader(io.ErrUnexpectedEOF))
			if _, err := m.Add(meta("1", ""), r); err != io.ErrUnexpectedEOF {
				t.Errorf("%v", err)
			}
		}
		flush(t, a)
		if n := len(contents(t, a)["INBOX"]); n != 0 {
			t.Errorf("%d messages", n)
		}
		a.Close()
		invariants(t, dir)
	})
}

func TestFlagsOfTheServerAndOfTheReader(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, dir, Options{Format: Maildir})
	add(t, box(t, a, "INBOX"), "1", letter(1, "x"), `\Flagged`)
	a.Close()
	cur := filepath.Join(dir, "office", "INBOX", "cur")
	list, _ := os.ReadDir(cur)
	name := list[0].Name()
	if !strings.HasSuffix(name, ":2,F") {
		t.Fatal(name)
	}
	// A mail program marks it as answered, and carries a keyword of its own.
	os.Rename(filepath.Join(cur, name), filepath.Join(cur, strings.TrimSuffix(name, "F")+"FRa"))
	a = mustOpen(t, dir, Options{})
	m := box(t, a, "INBOX")
	ans := held(t, m, "1", -1)
	if !ans.Held || ans.Flags != `\Flagged` {
		t.Fatalf("%+v", ans)
	}
	m.SetFlags(ans.Seq, []string{`\Seen`, "仕事"})
	a.Close()
	list, _ = os.ReadDir(cur)
	if got := list[0].Name(); !strings.HasSuffix(got, ":2,RSa") {
		t.Errorf("%s: the reader's own marks must stay, \\Flagged must go, \\Seen must come", got)
	}
	a = mustOpen(t, dir, Options{})
	if got := held(t, box(t, a, "INBOX"), "1", -1).Flags; got != `\Seen 仕事` {
		t.Error(got)
	}
	a.Close()
	invariants(t, dir)
}

// scenario is a run as Pull makes it: what is held is asked first, the rest is
// added. large and odd messages, three mailboxes, links, flags.
func scenario(a *Archive) error {
	e, err := a.Enroll(office)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewSource(1))
	for b, name := range []string{"INBOX", "送信済み", "仕事/見積"} {
		m, err := a.Mailbox(e, MailboxInfo{Name: name, Delimiter: "/"})
		if err != nil {
			return err
		}
		for i := range 8 {
			octets := letter(i+10*min(b, 1), "body\r\nFrom a line\r\n")
			switch i {
			case 3:
				octets = "bare\nline\n" + octets
			case 5:
				if b == 0 { // too large to wait in memory
					big := make([]byte, maxInMemory+5000)
					rng.Read(big)
					octets += string(big)
				}
			}
			uid := fmt.Sprint(i + 1)
			var ans Answer
			q := Query{UIDValidity: 7, UID: uid, Size: int64(len(octets))}
			if err := m.Ask(1, func(int) Query { return q }, func(_ int, a Answer) { ans = a }); err != nil {
				return err
			}
			if ans.Held {
				if ans.Flags != `\Seen` && i == 2 {
					m.SetFlags(ans.Seq, []string{`\Seen`})
				}
				continue
			}
			if _, err := m.Add(Meta{Query: q, InternalDate: day.Add(time.Duration(i) * time.Hour)}, strings.NewReader(octets)); err != nil {
				return err
			}
			if i == 4 {
				if err := a.Flush(); err != nil {
					return err
				}
			}
		}
	}
	return a.Flush()
}

// TestCrashAtEveryStep stops a run before each single change of the disk, and
// at each named point, reopens what is there, runs again and demands the end
// state of an undisturbed run.
func TestCrashAtEveryStep(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		undisturbed := t.TempDir()
		a := mustOpen(t, undisturbed, Options{Format: f})
		if err := errors.Join(scenario(a), scenario(a)); err != nil {
			t.Fatal(err)
		}
		want := contents(t, a)
		a.Close()
		named := map[string]bool{}
		for n := 0; ; n++ {
			dir := t.TempDir()
			count, crashed := 0, ""
			steps := func(name string) error {
				if crashed != "" {
					return errCrash
				}
				if count++; count > n {
					crashed = name
					return errCrash
				}
				return nil
			}
			a, err := open(dir, Options{Format: f, Create: true, steps: steps})
			if err == nil {
				err = scenario(a)
				if err == nil {
					err = scenario(a)
				}
				if err == nil {
					_, err = a.Verify(context.Background(), VerifyOptions{Repair: true})
				}
			}
			if crashed == "" {
				if err != nil {
					t.Fatal(err)
				}
				a.Close()
				break
			}
			if a != nil {
				a.abandon()
			}
			named[strings.Fields(crashed)[0]] = true
			// And once more while it recovers.
			left := n % 9
			again := func(string) error {
				if left--; left < 0 {
					return errCrash
				}
				return nil
			}
			if a, err := open(dir, Options{Format: f, Create: true, steps: again}); err == nil {
				a.abandon()
			}
			a = mustOpen(t, dir, Options{Format: f})
			if err := errors.Join(scenario(a), scenario(a)); err != nil {
				t.Fatalf("after a crash at step %d, %s: %v", n, crashed, err)
			}
			if got := contents(t, a); !maps.EqualFunc(got, want, slices.Equal) {
				t.Fatalf("after a crash at step %d, %s:\n%v\nwant\n%v", n, crashed, got, want)
			}
			a.Close()
			if n%5 == 0 {
				invariants(t, dir)
			}
			if t.Failed() {
				t.Fatalf("after a crash at step %d, %s", n, crashed)
			}
			os.RemoveAll(dir)
		}
		for _, s := range []string{"spool", "journal", "sync", "publish", "record", "rebuild", "create", "write", "rename"} {
			if !named[s] {
				t.Errorf("no crash at %q: the sweep is not what it says", s)
			}
		}
	})
}
