package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fumibako-mail/fumibako/archive/mbox"
	"github.com/fumibako-mail/fumibako/dedupe"
)

// filled makes an archive with n messages in INBOX and returns its folder.
func filled(t *testing.T, f Format, n int) string {
	t.Helper()
	dir := t.TempDir()
	a := mustOpen(t, dir, Options{Format: f})
	m := box(t, a, "INBOX")
	for i := range n {
		add(t, m, fmt.Sprint(i+1), letter(i, "From me\r\n"))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mailFile(t *testing.T, dir string, f Format, n int) string {
	t.Helper()
	if f == Mbox {
		return filepath.Join(dir, "office", "INBOX.mbox")
	}
	list, err := os.ReadDir(filepath.Join(dir, "office", "INBOX", "cur"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "office", "INBOX", "cur", list[n].Name())
}

func countHeld(t *testing.T, a *Archive, n int) (held int) {
	t.Helper()
	m := box(t, a, "INBOX")
	err := m.Ask(n, func(i int) Query {
		return Query{UIDValidity: 7, UID: fmt.Sprint(i + 1), Size: int64(len(letter(i, "From me\r\n")))}
	}, func(_ int, ans Answer) {
		if ans.Held {
			held++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestTheIndexCanBeLost(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(path string) error
	}{
		{"deleted", os.Remove},
		{"empty", func(p string) error { return os.Truncate(p, 0) }},
		{"cut", func(p string) error { return os.Truncate(p, 9000) }},
		{"garbage", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("garbage!"), 5000), 0o600) }},
		{"zeroed", func(p string) error { return os.WriteFile(p, make([]byte, 40000), 0o600) }},
		{"both meta pages gone", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 8192), 0)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			forFormats(t, func(t *testing.T, f Format) {
				dir := filled(t, f, 20)
				if err := c.do(filepath.Join(dir, filepath.FromSlash(indexFile))); err != nil {
					t.Fatal(err)
				}
				a := mustOpen(t, dir, Options{})
				if got := countHeld(t, a, 20); got != 20 {
					t.Errorf("%d of 20 held", got)
				}
				a.Close()
				invariants(t, dir)
			})
		})
	}
}

// TestTornTails puts every kind of unfinished end behind a journal and
// demands that nothing but the torn octets is lost, and that they are kept.
func TestTornTails(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filled(t, f, 5)
		journal := filepath.Join(dir, filepath.FromSlash(journalName(1)))
		whole, err := os.ReadFile(journal)
		if err != nil {
			t.Fatal(err)
		}
		last := whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1:]
		for n := 1; n <= 4096; n = n*3 + 1 {
			for _, tail := range [][]byte{make([]byte, n), last[:min(n, len(last)-1)], bytes.Repeat([]byte("\n"), n), bytes.Repeat([]byte{0xff}, n)} {
				os.WriteFile(journal, append(whole[:len(whole):len(whole)], tail...), 0o600)
				a := mustOpen(t, dir, Options{})
				if got := countHeld(t, a, 5); got != 5 {
					t.Fatalf("%d of 5 held after a tail of %d octets %.9q", got, len(tail), tail)
				}
				a.Close()
				if now, _ := os.ReadFile(journal); !bytes.Equal(now, whole) {
					t.Fatalf("tail of %d octets %.9q: the journal is not as it was", len(tail), tail)
				}
			}
		}
		if list, _ := os.ReadDir(filepath.Join(dir, filepath.FromSlash(recoveredDir))); len(list) == 0 {
			t.Error("the torn octets were not kept")
		}
		invariants(t, dir)
	})
}

func TestADamagedLineInsideAJournalIsNotTheEnd(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filled(t, f, 5)
		journal := filepath.Join(dir, filepath.FromSlash(journalName(1)))
		octets, _ := os.ReadFile(journal)
		i := bytes.Index(octets, []byte(`"t":"message"`))
		octets[i+5] ^= 1
		os.WriteFile(journal, octets, 0o600)
		os.Remove(filepath.Join(dir, filepath.FromSlash(indexFile)))
		a := mustOpen(t, dir, Options{})
		defer a.Close()
		found := false
		for _, n := range a.Notes() {
			found = found || n.Code == NoteDamagedJournal
		}
		if !found {
			t.Errorf("nobody is told: %+v", a.Notes())
		}
		// The four that can be read count; numbers shift, so none may be taken for another.
		if got := countHeld(t, a, 5); got != 4 {
			t.Errorf("%d held", got)
		}
	})
}

func TestVerifyFindsEachFlippedBit(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filled(t, f, 3)
		for i := range 3 {
			p := mailFile(t, dir, f, min(i, 2))
			whole, _ := os.ReadFile(p)
			for at := 60; at < len(whole)-2; at += 37 {
				bad := bytes.Clone(whole)
				bad[at] ^= 4
				os.WriteFile(p, bad, 0o600)
				a := mustOpen(t, dir, Options{})
				v, err := a.Verify(context.Background(), VerifyOptions{})
				a.Close()
				if err != nil {
					t.Fatal(err)
				}
				// A flipped bit in a From_ line is no part of a message.
				inFrom := f == Mbox && bytes.HasPrefix(whole[bytes.LastIndexByte(whole[:at], '\n')+1:], []byte("From ha"))
				if v.Clean() && !inFrom {
					t.Errorf("octet %d of %s flipped, and verify is content", at, filepath.Base(p))
				}
			}
			os.WriteFile(p, whole, 0o600)
		}
		invariants(t, dir)
	})
}

func TestALostFileIsNotHeldAndComesBackOnce(t *testing.T) {
	dir := filled(t, Maildir, 3)
	if err := os.Remove(mailFile(t, dir, Maildir, 1)); err != nil {
		t.Fatal(err)
	}
	a := mustOpen(t, dir, Options{})
	if got := countHeld(t, a, 3); got != 2 {
		t.Fatalf("%d held", got)
	}
	v, err := a.Verify(context.Background(), VerifyOptions{})
	if err != nil || len(v.Mailboxes[0].Lost) != 1 || v.Mailboxes[0].Lost[0].MessageID == "" {
		t.Fatalf("%+v, %v", v, err)
	}
	m := box(t, a, "INBOX")
	for i := range 3 {
		o := letter(i, "From me\r\n")
		if ans := held(t, m, fmt.Sprint(i+1), len(o)); !ans.Held {
			if !add(t, m, fmt.Sprint(i+1), o).Stored {
				t.Error("not stored again")
			}
		}
	}
	flush(t, a)
	if got := countHeld(t, a, 3); got != 3 {
		t.Errorf("%d held", got)
	}
	a.Close()
	invariants(t, dir)
}

func TestAnMboxThatAnotherProgramRewrote(t *testing.T) {
	dir := filled(t, Mbox, 6)
	p := mailFile(t, dir, Mbox, 0)
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(p)
	sc := mbox.NewScanner(f, 0)
	var kept []byte
	for i := 0; ; i++ {
		if _, err := sc.Next(); err != nil {
			break
		}
		io.Copy(io.Discard, sc.Body())
		e := sc.Entry()
		if i != 1 { // compacted: the second message is gone, all others move
			kept = append(kept, whole[e.Offset:e.Offset+e.Length]...)
		}
	}
	f.Close()
	stranger := "From stranger@example.com Mon Mar  2 10:00:00 2020\nSubject: mine\n\nnot yours\n\n"
	os.WriteFile(p, append(kept, stranger...), 0o600)
	a := mustOpen(t, dir, Options{})
	if got := countHeld(t, a, 6); got != 5 {
		t.Errorf("%d of 6 held, one was removed", got)
	}
	m := box(t, a, "INBOX")
	o := letter(1, "From me\r\n")
	if !add(t, m, "2", o).Stored {
		t.Error("not stored again")
	}
	flush(t, a)
	if got := countHeld(t, a, 6); got != 6 {
		t.Errorf("%d of 6 held", got)
	}
	v, err := a.Verify(context.Background(), VerifyOptions{})
	if err != nil || !v.Clean() || len(v.Mailboxes[0].Foreign) != 1 || v.Mailboxes[0].Foreign[0].Subject != "mine" {
		t.Errorf("%+v, %v", v, err)
	}
	a.Close()
	if now, _ := os.ReadFile(p); !bytes.Contains(now, []byte(stranger)) {
		t.Error("somebody else's message was touched")
	}
}

func TestAnUnfinishedMboxAppend(t *testing.T) {
	// The journal knows of six messages; the file got five and a half, or five
	// and NULs, or others wrote behind.
	for _, c := range []struct {
		name   string
		end    func(sixth []byte) []byte
		kept   bool // what stands there is somebody else's
		voided bool
	}{
		{"half a message", func(s []byte) []byte { return s[:len(s)/2] }, false, true},
		{"NULs", func(s []byte) []byte { return make([]byte, len(s)-3) }, false, true},
		{"nothing", func([]byte) []byte { return nil }, false, true},
		{"all of it", func(s []byte) []byte { return s }, false, false},
		{"another's message", func(s []byte) []byte { return append(bytes.Repeat([]byte("x"), 2*len(s)), "\n\n"...) }, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filled(t, Mbox, 5)
			p := mailFile(t, dir, Mbox, 0)
			before, _ := os.ReadFile(p)
			index := filepath.Join(dir, filepath.FromSlash(indexFile))
			old, _ := os.ReadFile(index)
			a := mustOpen(t, dir, Options{})
			add(t, box(t, a, "INBOX"), "6", letter(5, "From me\r\n"))
			a.Close()
			after, _ := os.ReadFile(p)
			os.WriteFile(index, old, 0o600)
			end := c.end(bytes.Clone(after[len(before):]))
			os.WriteFile(p, append(bytes.Clone(before), end...), 0o600)
			a = mustOpen(t, dir, Options{})
			m := box(t, a, "INBOX")
			o := letter(5, "From me\r\n")
			if held(t, m, "6", len(o)).Held == c.voided {
				t.Errorf("held is %v", !c.voided)
			}
			if c.voided {
				add(t, m, "6", o)
			}
			flush(t, a)
			if got := countHeld(t, a, 6); got != 6 {
				t.Errorf("%d held", got)
			}
			a.Close()
			now, _ := os.ReadFile(p)
			if c.kept != bytes.Contains(now, []byte("xxxxxxxx")) {
				t.Error("another's octets")
			}
			if !c.kept {
				invariants(t, dir)
			}
		})
	}
}

func TestRepairWithoutAnyJournal(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filled(t, f, 7)
		for _, gone := range []string{journalDir, indexFile, accountsFile} {
			if err := os.RemoveAll(filepath.Join(dir, filepath.FromSlash(gone))); err != nil {
				t.Fatal(err)
			}
		}
		a := mustOpen(t, dir, Options{})
		v, err := a.Verify(context.Background(), VerifyOptions{Repair: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Mailboxes) != 1 || v.Mailboxes[0].Adopted != 7 || v.Mailboxes[0].Sound != 7 || v.Mailboxes[0].Account != "office" || v.Mailboxes[0].Mailbox != "INBOX" {
			t.Fatalf("%+v", v)
		}
		m := box(t, a, "INBOX")
		n := 0
		m.Unbound(func(uint32, int64, dedupe.Digest) { n++ })
		if n != 7 {
			t.Errorf("%d messages without an origin", n)
		}
		for i := range 7 { // fetched again, each is recognised
			if add(t, m, fmt.Sprint(i+1), letter(i, "From me\r\n")).Stored {
				t.Error("stored twice")
			}
		}
		a.Close()
		a = mustOpen(t, dir, Options{})
		if got := countHeld(t, a, 7); got != 7 {
			t.Errorf("%d held", got)
		}
		a.Close()
		invariants(t, dir)
	})
}

func TestOpeningWhatIsNoArchive(t *testing.T) {
	state := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	ours := filled(t, Maildir, 1)
	newer := filled(t, Maildir, 1)
	marker := filepath.Join(newer, filepath.FromSlash(markerFile))
	octets, _ := os.ReadFile(marker)
	os.WriteFile(marker, []byte(strings.Replace(string(octets), "lowest_reader = 1", "lowest_reader = 9", 1)), 0o600)
	moved := filepath.Join(t.TempDir(), "disk")
	a := mustOpen(t, moved, Options{StateDir: state})
	a.Close()
	os.RemoveAll(moved)
	os.Mkdir(moved, 0o700) // the mount point without the disk
	swapped := filepath.Join(t.TempDir(), "disk")
	mustOpen(t, swapped, Options{StateDir: state}).Close()
	os.RemoveAll(swapped)
	mustOpen(t, swapped, Options{}).Close()
	noMarker := filled(t, Mbox, 1)
	os.Remove(filepath.Join(noMarker, filepath.FromSlash(markerFile)))
	holder := mustOpen(t, ours, Options{Command: "pull"})
	defer holder.Close()
	for _, c := range []struct {
		name, path string
		o          Options
		code       string
	}{
		{"a file", file, Options{Create: true}, CodeNotFolder},
		{"below a file", filepath.Join(file, "x"), Options{Create: true}, CodeNotFolder},
		{"held by another", ours, Options{}, CodeLocked},
		{"nothing there", filepath.Join(t.TempDir(), "none"), Options{}, CodeAbsent},
		{"an empty mount point", moved, Options{Create: true, StateDir: state}, CodeAbsent},
		{"another archive at its place", swapped, Options{StateDir: state}, CodeOtherArchive},
		{"a newer version", newer, Options{}, CodeNewer},
		{"another format", newer, Options{Format: Mbox}, CodeNewer},
		{"no marker but journals", noMarker, Options{Create: true}, CodeDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(c.path, c.o)
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Fatalf("%v, want %s", err, c.code)
			}
			if c.code == CodeLocked && !strings.Contains(e.Text, fmt.Sprintf("pull, process %d", os.Getpid())) {
				t.Errorf("who holds it? %q", e.Text)
			}
		})
	}
	if list, _ := os.ReadDir(moved); len(list) != 0 {
		t.Errorf("written into an empty mount point: %v", list)
	}
	if _, err := ReadStatus(ours); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestFindMessageID(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filled(t, f, 5)
		places, err := FindMessageID(dir, "<3@example.jp>")
		if err != nil || len(places) != 1 || !places[0].Present || places[0].Mailbox != "INBOX" || !places[0].Date.Equal(day) {
			t.Errorf("%+v, %v", places, err)
		}
		if places, err = FindMessageID(dir, "nobody@example.jp"); len(places) != 0 || err != nil {
			t.Errorf("%+v, %v", places, err)
		}
	})
}

func TestAnAccountKeepsItsPlace(t *testing.T) {
	a := mustOpen(t, t.TempDir(), Options{})
	defer a.Close()
	renamed, moved, back := office, office, office
	renamed.Name = "honsha"
	moved.Host = "imap2.example.jp"
	back.Port = 143
	for _, c := range []struct {
		acc   Account
		name  string
		epoch uint32
	}{{office, "office", 1}, {office, "office", 1}, {renamed, "office", 1}, {moved, "office", 2}, {back, "office", 1}, {moved, "office", 2}} {
		e, err := a.Enroll(c.acc)
		if err != nil || e.Name != c.name || e.Epoch != c.epoch {
			t.Errorf("%+v: %+v, %v", c.acc, e, err)
		}
	}
	if n := len(a.Accounts()); n != 2 {
		t.Errorf("%d accounts", n)
	}
}
