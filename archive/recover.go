package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fumibako-mail/fumibako/archive/mbox"
	"github.com/fumibako-mail/fumibako/dedupe"
)

func offsetKey(offset int64) string { return strconv.FormatInt(offset, 10) }

// openIndex opens the index, or begins a new one: it is a cache of what files
// and journals say, so a damaged one is set aside, never mended. Where the
// archive's file system cannot map or lock a file, the index lies in the state
// folder.
func (a *Archive) openIndex() error {
	here := filepath.Join(a.fs.path, filepath.FromSlash(indexFile))
	if a.fs.sync.whole == nil && a.stateDir != "" && !mapWorks(here+".trial") {
		if err := os.MkdirAll(a.stateDir, 0o700); err != nil {
			return err
		}
		here = filepath.Join(a.stateDir, a.marker.ID+".db")
		a.note(NoteIndexElsewhere, here, 1)
	}
	_, statErr := os.Stat(here)
	x, err := dedupe.OpenIndex(here)
	if errors.Is(err, dedupe.ErrDamaged) {
		bad := here + ".bad-" + time.Now().UTC().Format("20060102T150405Z")
		if err := os.Rename(here, bad); err != nil {
			return err
		}
		statErr = os.ErrNotExist
		x, err = dedupe.OpenIndex(here)
	}
	if err != nil {
		return err
	}
	a.index = x
	a.freshIndex = statErr != nil
	if a.freshIndex && len(a.byID) > 0 {
		a.note(NoteIndexRebuilt, here, 1)
	}
	return nil
}

// mapWorks tries the index's own way of using a file.
func mapWorks(path string) bool {
	x, err := dedupe.OpenIndex(path)
	if err != nil {
		os.Remove(path)
		return false
	}
	x.Close()
	os.Remove(path)
	return true
}

// recover brings index and files to the state of the last commit: what a
// journal records beyond the index either reached its place, and is entered,
// or did not, and is voided.
func (a *Archive) recover() error {
	for _, m := range a.sortedMailboxes() {
		if err := m.replay(); err != nil {
			return fmt.Errorf("%s: %w", journalName(m.id), err)
		}
		if err := m.audit(); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		err := a.index.View(func(tx *dedupe.Tx) error {
			if use, ok := tx.Use(m.id); ok {
				m.info.SpecialUse = use
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// replayChunk bounds the records of one index transaction.
const replayChunk = 20000

func (m *Mailbox) replay() error {
	a := m.a
	name := journalName(m.id)
	f, err := a.fs.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	p, err := m.progress()
	if err != nil {
		return err
	}
	// With a fresh index nothing says which messages were complete: files are
	// then taken by their presence and length, and Verify compares them.
	fresh := a.freshIndex
	if p.Journal > fi.Size() {
		// The index knows more than the journal: the journal was put back from a
		// copy, or lost. What it says now is what counts.
		if err := a.index.Update(func(tx *dedupe.Tx) error { return tx.Forget(m.id) }); err != nil {
			return err
		}
		a.note(NoteIndexRebuilt, name, 1)
		p = dedupe.Progress{}
		fresh = true
	}
	m.nextSeq, m.journalEnd = p.Records+1, p.Journal
	if p.Journal == fi.Size() {
		return nil
	}
	if _, err := f.Seek(p.Journal, io.SeekStart); err != nil {
		return err
	}
	var list []*record
	sound, bad, err := readJournal(f, p.Journal, func(r *record, end int64) error {
		list = append(list, r)
		m.journalEnd = end
		if len(list) < replayChunk || !fresh {
			return nil
		}
		err := m.enterAll(list)
		list = list[:0]
		return err
	})
	if err != nil {
		return err
	}
	if bad > 0 {
		a.note(NoteDamagedJournal, name, bad)
	}
	if err := a.mendTail(name, sound); err != nil {
		return err
	}
	if !fresh {
		void, err := m.settleTail(list)
		if err != nil {
			return err
		}
		if void != nil {
			list = append(list, void)
		}
	}
	return m.enterAll(list)
}

func (m *Mailbox) progress() (p dedupe.Progress, err error) {
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		p = tx.Progress(m.id)
		return nil
	})
	return p, err
}

// settleTail checks the messages of an unfinished commit and, if some never
// reached their place, appends the record that says so.
func (m *Mailbox) settleTail(list []*record) (*record, error) {
	seq := m.nextSeq
	var all []placed
	for _, r := range list {
		if r.Type != "message" {
			continue
		}
		p := placed{r, r.Seq}
		if p.seq == 0 {
			p.seq = seq
			seq++
		}
		all = append(all, p)
	}
	sound, err := m.store.torn(all)
	if err != nil {
		return nil, err
	}
	reached := map[*record]bool{}
	for _, p := range sound {
		reached[p.rec] = true
	}
	void := &record{Type: "void", At: time.Now().Unix()}
	for _, p := range all {
		if !reached[p.rec] {
			void.Void = append(void.Void, p.seq)
		}
	}
	if len(void.Void) == 0 {
		return nil, nil
	}
	return void, m.appendRecords(void)
}

// appendRecords writes records to the journal outside a commit, durably.
func (m *Mailbox) appendRecords(list ...*record) error {
	var lines []byte
	for _, r := range list {
		var err error
		if lines, err = appendLine(lines, r); err != nil {
			return err
		}
	}
	if err := m.a.appendLines(journalName(m.id), lines); err != nil {
		return err
	}
	m.journalEnd += int64(len(lines))
	return m.a.fs.sync.files()
}

func (m *Mailbox) enterAll(list []*record) error {
	if len(list) == 0 {
		return nil
	}
	return m.a.index.Update(func(tx *dedupe.Tx) error {
		for _, r := range list {
			if err := m.apply(tx, r); err != nil {
				return err
			}
		}
		p := tx.Progress(m.id)
		p.Journal = m.journalEnd
		m.nextSeq = p.Records + 1
		return tx.SetProgress(m.id, p)
	})
}

// audit looks whether another program rewrote the mailbox's file, and finds
// its messages again if so.
func (m *Mailbox) audit() error {
	if m.a.marker.Format != Mbox {
		return nil
	}
	p, err := m.progress()
	if err != nil || p.Last == 0 {
		return err
	}
	var last dedupe.Entry
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		last, _ = tx.Entry(m.id, p.Last)
		return nil
	})
	if err != nil {
		return err
	}
	whole, err := m.store.(*mboxStore).audit(last)
	if err != nil || whole {
		return err
	}
	return m.findAgain()
}

// findAgain reads a rewritten mbox through and records where each message
// stands now; a message that is not found stands nowhere.
func (m *Mailbox) findAgain() error {
	s := m.store.(*mboxStore)
	at := map[dedupe.Digest][]mbox.Entry{} // by Canonical, which line ends do not change
	hash := dedupe.NewHasher()
	err := s.foreign(nil, func(x found) error {
		r, err := x.open()
		if err != nil {
			return err
		}
		defer r.Close()
		hash.Reset()
		if _, err := io.Copy(hash, r); err != nil {
			return err
		}
		fp, _ := hash.Sum()
		at[fp.Canonical] = append(at[fp.Canonical], mbox.Entry{Offset: x.offset, Length: x.length})
		return nil
	})
	if err != nil {
		return err
	}
	var moved []*record
	again := 0
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			r := &record{Type: "moved", At: time.Now().Unix(), Seq: e.Seq, Offset: -1}
			was := e.Offset
			if m.store.present(e) {
				if equal, err := m.holds(e); err != nil {
					return err
				} else if equal {
					return nil
				}
			}
			for i, c := range at[e.Canonical] {
				e.Offset, e.Length = c.Offset, c.Length
				if equal, err := m.holds(e); err != nil {
					return err
				} else if equal {
					r.Offset, r.Length = c.Offset, c.Length
					at[e.Canonical] = append(at[e.Canonical][:i:i], at[e.Canonical][i+1:]...)
					again++
					break
				}
			}
			if r.Offset != was {
				moved = append(moved, r)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if len(moved) == 0 {
		return nil
	}
	m.a.note(NoteRewritten, m.path, again)
	if err := m.appendRecords(moved...); err != nil {
		return err
	}
	return m.enterAll(moved)
}

// holds reports whether the octets on the disk are those of the record.
func (m *Mailbox) holds(e dedupe.Entry) (bool, error) {
	r, err := m.read(e)
	if err != nil {
		return false, err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	if errors.Is(err, errNotEqual) {
		return false, nil
	}
	return err == nil, err
}
