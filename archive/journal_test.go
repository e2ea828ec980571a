package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/fumibako-mail/fumibako/dedupe"
)

func inArchive(dir, name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }

// bodyOf reads what an origin leads to.
func bodyOf(t *testing.T, m *Mailbox, uid string) string {
	t.Helper()
	ans := held(t, m, uid, -1)
	if !ans.Held {
		t.Errorf("UID %s is not held", uid)
		return ""
	}
	r, err := m.read(entryOf(t, m, ans.Seq))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	octets, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("UID %s: %v", uid, err)
	}
	return string(octets)
}

func damageLine(t *testing.T, journal string, n int) {
	t.Helper()
	octets, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for range n {
		at += bytes.IndexByte(octets[at:], '\n') + 1
	}
	octets[at+12] ^= 1
	if err := os.WriteFile(journal, octets, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedLinesDoubleNothing damages each line of a journal in turn and
// loses the index: no number may shift, and no message be stored twice.
func TestDamagedLinesDoubleNothing(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		for line := 0; ; line++ {
			dir := filled(t, f, 4)
			a := mustOpen(t, dir, Options{})
			m := box(t, a, "INBOX")
			add(t, m, "14", letter(3, "From me\r\n"))
			add(t, m, "12", letter(1, "From me\r\n"))
			a.Close()
			journal := inArchive(dir, journalName(1))
			octets, _ := os.ReadFile(journal)
			if line == bytes.Count(octets, []byte("\n")) {
				break
			}
			damageLine(t, journal, line)
			os.Remove(inArchive(dir, indexFile))
			a = mustOpen(t, dir, Options{})
			m = box(t, a, "INBOX")
			for i := range 4 {
				o := letter(i, "From me\r\n")
				if !held(t, m, fmt.Sprint(i+1), len(o)).Held && add(t, m, fmt.Sprint(i+1), o).Stored {
					t.Errorf("line %d: message %d is stored twice", line, i+1)
				}
			}
			flush(t, a)
			for uid, i := range map[string]int{"1": 0, "2": 1, "3": 2, "4": 3, "14": 3, "12": 1} {
				if held(t, m, uid, -1).Held && bodyOf(t, m, uid) != letter(i, "From me\r\n") {
					t.Errorf("line %d: UID %s leads to another message", line, uid)
				}
			}
			a.Close()
			invariants(t, dir)
		}
	})
}

func TestAJournalWithoutItsHead(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir := filled(t, f, 4)
		damageLine(t, inArchive(dir, journalName(1)), 0)
		damageLine(t, inArchive(dir, journalName(1)), 1)
		for range 2 { // the second run must not take its number for the lost one's
			a := mustOpen(t, dir, Options{})
			m := box(t, a, "INBOX")
			for i := range 4 {
				if add(t, m, fmt.Sprint(i+1), letter(i, "From me\r\n")).Stored {
					t.Errorf("message %d is stored twice", i+1)
				}
			}
			a.Close()
		}
		invariants(t, dir)
	})
}

// withVoid makes an archive of two mailboxes in which a run once ended between
// record and file, and another went on from there.
func withVoid(t *testing.T, f Format) (dir string, before []byte) {
	t.Helper()
	dir = t.TempDir()
	names := []string{"Archive", "INBOX"}
	a := mustOpen(t, dir, Options{Format: f})
	for _, name := range names {
		m := box(t, a, name)
		for i := range 3 {
			add(t, m, fmt.Sprint(i+1), letter(i, name))
		}
	}
	a.Close()
	before, err := os.ReadFile(inArchive(dir, indexFile))
	if err != nil {
		t.Fatal(err)
	}
	a, err = open(dir, Options{steps: func(s string) error {
		if s == "publish" {
			return errCrash
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		add(t, box(t, a, name), "4", letter(4, name+" never published"))
	}
	if err := a.Flush(); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	a.abandon()
	a = mustOpen(t, dir, Options{})
	for _, name := range names {
		m := box(t, a, name)
		for i := 5; i < 8; i++ {
			add(t, m, fmt.Sprint(i), letter(i, name))
		}
	}
	a.Close()
	return dir, before
}

func wantVoid(t *testing.T, dir string) {
	t.Helper()
	a := mustOpen(t, dir, Options{})
	for _, name := range []string{"Archive", "INBOX"} {
		m := box(t, a, name)
		for _, i := range []int{0, 1, 2, 5, 6, 7} {
			uid := fmt.Sprint(i)
			if i < 3 {
				uid = fmt.Sprint(i + 1)
			}
			if bodyOf(t, m, uid) != letter(i, name) {
				t.Errorf("%s: UID %s is another message", name, uid)
			}
		}
	}
	a.Close()
	if list, _ := os.ReadDir(inArchive(dir, recoveredDir)); len(list) > 0 {
		t.Errorf("held messages were moved aside: %v", list)
	}
	invariants(t, dir)
}

// TestARebuildThatWasCutShort kills the program while it makes a new index.
// What the index lacks then is no unfinished commit.
func TestARebuildThatWasCutShort(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		for _, altered := range []bool{false, true} {
			dir, _ := withVoid(t, f)
			if err := os.Remove(inArchive(dir, indexFile)); err != nil {
				t.Fatal(err)
			}
			_, err := open(dir, Options{steps: func(s string) error {
				if s == "replay "+journalName(2) {
					return errCrash
				}
				return nil
			}})
			if !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			if !altered {
				wantVoid(t, dir)
				continue
			}
			p := mailFile(t, dir, f, 0)
			octets, _ := os.ReadFile(p)
			octets[len(octets)/6] ^= 1
			os.WriteFile(p, octets, 0o600)
			a := mustOpen(t, dir, Options{})
			v, err := a.Verify(context.Background(), VerifyOptions{})
			if err != nil || v.Mailboxes[1].Messages != 6 || v.Mailboxes[1].Sound != 5 || len(v.Mailboxes[1].Altered) != 1 {
				t.Errorf("%+v, %v", v, err)
			}
			a.Close()
		}
	})
}

// TestAnIndexThatWasLeftBehind opens an archive with an older index, as two
// computers do that each keep one in their state folder.
func TestAnIndexThatWasLeftBehind(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir, before := withVoid(t, f)
		if err := os.WriteFile(inArchive(dir, indexFile), before, 0o600); err != nil {
			t.Fatal(err)
		}
		wantVoid(t, dir)
	})
}

// TestAJournalThatIsGone loses the journal of one of two mailboxes. Nobody
// needs to ask for a repair: the messages stay known.
func TestAJournalThatIsGone(t *testing.T) {
	forFormats(t, func(t *testing.T, f Format) {
		dir, _ := withVoid(t, f)
		os.Remove(inArchive(dir, journalName(2)))
		a := mustOpen(t, dir, Options{})
		if n := a.Notes(); len(n) != 1 || n[0].Code != NoteDamagedJournal || n[0].N != 6 {
			t.Errorf("%+v", n)
		}
		v, err := a.Verify(context.Background(), VerifyOptions{})
		if err != nil || len(v.Mailboxes) != 2 || v.Mailboxes[1].Sound != 6 || v.Mailboxes[1].Mailbox != "INBOX" {
			t.Fatalf("%+v, %v", v, err)
		}
		m := box(t, a, "INBOX")
		for _, i := range []int{0, 1, 2, 5, 6, 7} {
			if held(t, m, fmt.Sprint(i), -1).Held {
				t.Error("held, though nothing says under which UID")
			}
			if add(t, m, fmt.Sprint(i+10), letter(i, "INBOX")).Stored {
				t.Error("stored twice")
			}
		}
		a.Close()
		invariants(t, dir)
	})
}

func TestVerifyAsksTheJournals(t *testing.T) {
	dir := filled(t, Maildir, 4)
	a := mustOpen(t, dir, Options{})
	if err := a.index.Update(func(tx *dedupe.Tx) error { return tx.Drop(1, 3) }); err != nil {
		t.Fatal(err)
	}
	_, err := a.Verify(context.Background(), VerifyOptions{})
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeDamaged {
		t.Errorf("%v", err)
	}
	a.Close()
	damageLine(t, inArchive(dir, journalName(1)), 3)
	for _, want := range []string{NoteIndexRebuilt, NoteDamagedJournal} {
		a = mustOpen(t, dir, Options{}) // the index is made anew, and what the line said is taken from the file
		v, err := a.Verify(context.Background(), VerifyOptions{})
		if err != nil || v.Mailboxes[0].Sound != 4 {
			t.Errorf("%+v, %v", v, err)
		}
		found := false
		for _, n := range a.Notes() {
			found = found || n.Code == want
		}
		if !found {
			t.Errorf("no %s in %+v", want, a.Notes())
		}
		a.Close()
	}
}
