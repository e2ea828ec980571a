package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	x, err := dedupe.OpenIndex(here)
	if errors.Is(err, dedupe.ErrDamaged) {
		if err := setAside(here); err != nil {
			return err
		}
		x, err = dedupe.OpenIndex(here)
	}
	if err != nil {
		return err
	}
	a.index = x
	err = x.View(func(tx *dedupe.Tx) error {
		a.freshIndex = !tx.Whole()
		return nil
	})
	if err == nil && a.freshIndex && len(a.byID) > 0 {
		a.note(NoteIndexRebuilt, here, 1)
	}
	return err
}

// setAside renames a damaged index: it may tell somebody what happened.
func setAside(index string) error {
	return os.Rename(index, index+".bad-"+time.Now().UTC().Format("20060102T150405Z"))
}

// openRecovered opens the index and recovers; if the index turns out to be
// damaged on the way, once more with a new one.
func (a *Archive) openRecovered() error {
	for again := false; ; again = true {
		err := a.openIndex()
		if err == nil {
			err = a.recover(true)
		}
		if again || a.index == nil || !a.index.Damaged() {
			return err
		}
		where := a.index.Path()
		a.index.Close()
		if err := setAside(where); err != nil {
			return err
		}
		a.index = nil
	}
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
//
// Messages without a record, where there may be such, it takes up only if
// takeUp says so.
func (a *Archive) recover(takeUp bool) error {
	gone, err := a.missJournals()
	if err != nil {
		return err
	}
	for _, m := range a.sortedMailboxes() {
		if err := m.replay(); err != nil {
			return fmt.Errorf("%s: %w", journalName(m.id), err)
		}
		if err := m.audit(); err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		err = a.index.View(func(tx *dedupe.Tx) error {
			m.pending = tx.Pending(m.id)
			if use, ok := tx.Use(m.id); ok {
				m.info.SpecialUse = use
			}
			return nil
		})
		if err == nil && takeUp {
			err = m.takeUp()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
	}
	if err := a.forget(gone); err != nil {
		return err
	}
	if !a.freshIndex && !a.forgot {
		return nil
	}
	// Only now may the next Open take what is behind the index for unfinished.
	a.freshIndex, a.forgot = false, false
	return a.index.Update(func(tx *dedupe.Tx) error { return tx.SetWhole(true) })
}

// missJournals finds mailboxes that the index knows and whose journal is gone.
// It begins new ones for what lies on the disk.
func (a *Archive) missJournals() (gone map[uint32]int, err error) {
	gone = map[uint32]int{}
	err = a.index.View(func(tx *dedupe.Tx) error {
		for _, id := range tx.Mailboxes() {
			if a.byID[id] != nil {
				continue
			}
			gone[id] = 0
			if err := tx.Entries(id, func(dedupe.Entry) error { gone[id]++; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	for id, n := range gone {
		if n > 0 {
			a.note(NoteDamagedJournal, journalName(id), n)
		}
	}
	return gone, a.adoptMailboxes()
}

// forget drops what the index knows of mailboxes whose journals are gone.
func (a *Archive) forget(gone map[uint32]int) error {
	if len(gone) == 0 {
		return nil
	}
	return a.index.Update(func(tx *dedupe.Tx) error {
		for id := range gone {
			if a.byID[id] != nil {
				continue // its number was given again
			}
			if err := tx.Forget(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// takeUp records messages of the mailbox that no record speaks of, if there may
// be such: its journal was lost, or lines of it, or somebody put mail where it
// lies. Fetched, they would be stored a second time.
func (m *Mailbox) takeUp() error {
	if !m.pending {
		return nil
	}
	if err := m.store.look(false); err != nil {
		return err
	}
	if err := m.repair(context.Background(), &MailboxVerification{}); err != nil {
		return err
	}
	return m.tookUp()
}

// tookUp notes that repair has seen all there is.
func (m *Mailbox) tookUp() error {
	if !m.pending {
		return nil
	}
	m.pending = false
	if err := m.a.index.Update(func(tx *dedupe.Tx) error { return tx.SetPending(m.id, false) }); err != nil {
		return err
	}
	return m.audit()
}

// replayChunk bounds the records of one index transaction.
const replayChunk = 20000

// replay follows the mailbox's journal. If lines of it that cannot be read may
// have been records of messages, these are pending.
func (m *Mailbox) replay() error {
	a := m.a
	name := journalName(m.id)
	if err := a.fs.step("replay " + name); err != nil {
		return err
	}
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
		err := a.index.Update(func(tx *dedupe.Tx) error { return errors.Join(tx.SetWhole(false), tx.Forget(m.id)) })
		if err != nil {
			return err
		}
		a.note(NoteIndexRebuilt, name, 1)
		p = dedupe.Progress{}
		fresh, a.forgot = true, true
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
	if bad > 0 || fresh && sound < fi.Size() {
		if err := a.index.Update(func(tx *dedupe.Tx) error { return tx.SetPending(m.id, true) }); err != nil {
			return err
		}
	}
	if err := a.mendTail(name, sound); err != nil {
		return err
	}
	if !fresh {
		void, err := m.settleTail(list)
		if err != nil {
			return err
		}
		list = append(list, void...)
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

// maxVoid bounds the numbers in one record.
const maxVoid = 5000

// settleTail checks the messages of an unfinished commit and, if some never
// reached their place, appends the records that say so.
func (m *Mailbox) settleTail(list []*record) ([]*record, error) {
	tail := m.tailPlaces(list)
	if len(tail) == 0 {
		return nil, nil
	}
	before, err := m.lastPlaced()
	if err != nil {
		return nil, err
	}
	sound, err := m.store.torn(tail, before)
	if err != nil {
		return nil, err
	}
	reached := map[uint32]bool{}
	for _, p := range sound {
		reached[p.seq] = true
	}
	var voids []*record
	for _, p := range tail {
		if reached[p.seq] {
			continue
		}
		if n := len(voids); n == 0 || len(voids[n-1].Void) == maxVoid {
			voids = append(voids, &record{Type: "void", At: time.Now().Unix()})
		}
		last := voids[len(voids)-1]
		last.Void = append(last.Void, p.seq)
	}
	if len(voids) == 0 {
		return nil, nil
	}
	return voids, m.appendRecords(voids...)
}

// tailPlaces says where the messages that these records tell of ought to be
// after the last of the records, in the order of places. An index that was
// left behind, another computer's for example, makes it more than one batch:
// what was voided or moved since must not be looked for where it was.
func (m *Mailbox) tailPlaces(list []*record) []placed {
	at := map[uint32]placed{}
	highest := m.nextSeq - 1
	for i, r := range list {
		switch r.Type {
		case "message":
			seq := r.number(&highest)
			at[seq] = placed{r, seq, i}
		case "moved":
			if p, ok := at[r.Seq]; ok {
				moved := *p.rec
				moved.Offset, moved.Length = r.Offset, r.Length
				if r.File != "" {
					moved.File = r.File
				}
				at[r.Seq] = placed{&moved, r.Seq, p.order}
			}
		case "void":
			for _, seq := range r.Void {
				delete(at, seq)
			}
		}
	}
	var all []placed
	for _, p := range at {
		if p.rec.Offset >= 0 {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.rec.Offset, b.rec.Offset), cmp.Compare(a.order, b.order))
	})
	return all
}

// lastPlaced is the entry that the index knows furthest down the mbox; its
// Length is 0 if there is none.
func (m *Mailbox) lastPlaced() (last dedupe.Entry, err error) {
	if m.a.marker.Format != Mbox {
		return last, nil
	}
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			if e.Length > 0 && e.Offset >= last.Offset {
				last = e
			}
			return nil
		})
	})
	return last, err
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
		m.nextSeq = max(m.nextSeq, p.Records+1)
		return tx.SetProgress(m.id, p)
	})
}

// audit looks whether another program rewrote the mailbox's file, and finds
// its messages again if so.
func (m *Mailbox) audit() error {
	s, ok := m.store.(*mboxStore)
	if !ok {
		return nil
	}
	last, err := m.lastPlaced()
	if err != nil {
		return err
	}
	whole, err := s.audit(last)
	if err != nil || whole {
		return err
	}
	if err := m.findAgain(s); err != nil {
		return err
	}
	if last, err = m.lastPlaced(); err == nil {
		_, err = s.audit(last)
	}
	return err
}

// findAgain reads a rewritten mbox through and records where each message
// stands now; a message that is not found stands nowhere.
func (m *Mailbox) findAgain(s *mboxStore) error {
	at := map[dedupe.Digest][]mbox.Entry{} // by Canonical, which line ends do not change
	lengths := map[int64]int64{}           // by offset
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
		lengths[x.offset] = x.length
		return nil
	})
	if err != nil {
		return err
	}
	var moved []*record
	var nowhere []dedupe.Entry
	again := 0
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			if equal, err := m.holds(e); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			} else if equal {
				delete(lengths, e.Offset)
				return nil
			}
			was := e
			for i, c := range at[e.Canonical] {
				e.Offset, e.Length = c.Offset, c.Length
				if equal, err := m.holds(e); err != nil {
					return err
				} else if equal {
					moved = append(moved, &record{Type: "moved", At: time.Now().Unix(), Seq: e.Seq, Offset: c.Offset, Length: c.Length})
					at[e.Canonical] = append(at[e.Canonical][:i:i], at[e.Canonical][i+1:]...)
					delete(lengths, c.Offset)
					again++
					return nil
				}
			}
			if was.Offset >= 0 {
				nowhere = append(nowhere, was)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, e := range nowhere {
		if lengths[e.Offset] == e.Length {
			continue // its place is nobody else's: altered where it stands, for Verify to name
		}
		moved = append(moved, &record{Type: "moved", At: time.Now().Unix(), Seq: e.Seq, Offset: -1})
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
