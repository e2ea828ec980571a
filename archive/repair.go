package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// rebuild makes the index anew from the journals, and begins a journal for
// each mailbox on the disk that has none.
func (a *Archive) rebuild() error {
	where := a.index.Path()
	if err := a.index.Close(); err != nil {
		return err
	}
	if err := a.fs.step("rebuild"); err != nil {
		return err
	}
	if err := os.Remove(where); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	x, err := dedupe.OpenIndex(where)
	if err != nil {
		return err
	}
	a.index, a.freshIndex = x, true
	if err := a.adoptMailboxes(); err != nil {
		return err
	}
	return a.recover(false) // what is found without a record, Verify counts
}

// adoptMailboxes begins a journal for each mailbox on the disk that has none:
// its journal was lost, or somebody put it there.
func (a *Archive) adoptMailboxes() error {
	return fs.WalkDir(a.fs.root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) && p != "." {
			return fs.SkipDir // lost+found and others' folders, where an archive is a whole disk
		}
		if err != nil {
			return err
		}
		if p == ownDir || e.Type()&fs.ModeSymlink != 0 {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		mailbox := p
		switch {
		case a.marker.Format == Mbox && !e.IsDir() && strings.HasSuffix(p, ".mbox") && path.Dir(p) != ".":
			mailbox = strings.TrimSuffix(p, ".mbox")
		case a.marker.Format == Maildir && e.IsDir() && e.Name() == "cur" && strings.Count(p, "/") >= 2:
			mailbox = path.Dir(p)
		default:
			return nil
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		file := mailbox
		if a.marker.Format == Mbox {
			file = p
		}
		if _, known := a.folded[foldPath(file)]; known {
			return nil
		}
		parts := strings.Split(mailbox, "/")
		for i := range parts {
			parts[i] = unescapeComponent(parts[i])
		}
		head := &record{
			Type: "mailbox", Version: formatVersion, At: time.Now().Unix(), Account: text(parts[0]),
			Mailbox: text(strings.Join(parts[1:], "/")), Delimiter: "/", Path: text(file), Adopted: true,
		}
		_, err = a.beginJournal(head)
		return err
	})
}

// repairChunk bounds the records that wait to be written together.
const repairChunk = 5000

// repair takes what no record speaks of into the journal: a message that was
// recorded under another name or place is followed there, any other becomes a
// message without an origin, for a later pull to bind.
func (m *Mailbox) repair(ctx context.Context, v *MailboxVerification) error {
	recorded := map[string]bool{}
	missing := map[dedupe.Digest][]dedupe.Entry{} // by Canonical
	err := m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			recorded[m.recordKey(e)] = true
			if !m.store.present(e) {
				missing[e.Canonical] = append(missing[e.Canonical], e)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	var list []*record
	write := func() error {
		if len(list) == 0 {
			return nil
		}
		if err := m.appendRecords(list...); err != nil {
			return err
		}
		err := m.enterAll(list)
		list = list[:0]
		return err
	}
	next := m.nextSeq
	err = m.store.foreign(recorded, func(x found) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := m.recordOf(x)
		if err != nil || r == nil {
			return err
		}
		seq, err := m.isMissing(x, missing, dedupe.Digest(*r.Canonical))
		if err != nil {
			return err
		}
		if seq != 0 {
			r = &record{Type: "moved", Seq: seq, File: r.File, Offset: r.Offset, Length: r.Length}
			v.FoundAgain++
		} else {
			r.Seq = next
			next++
			v.Adopted++
		}
		r.At = time.Now().Unix()
		if list = append(list, r); len(list) == repairChunk {
			return write()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return write()
}

// isMissing finds the message that x is, among those whose place is empty, and
// takes it off them. It is read as that message was stored: without its record
// the octets of x alone do not tell.
func (m *Mailbox) isMissing(x found, missing map[dedupe.Digest][]dedupe.Entry, canonical dedupe.Digest) (seq uint32, err error) {
	for i, e := range missing[canonical] {
		e.Where, e.Offset, e.Length = x.where, x.offset, x.length
		equal, err := m.holds(e)
		if err != nil {
			return 0, err
		}
		if equal {
			missing[canonical] = append(missing[canonical][:i:i], missing[canonical][i+1:]...)
			return e.Seq, nil
		}
	}
	return 0, nil
}

// recordOf reads a file that has no record and makes the one it would have
// had. Without a journal nothing says whether LF stood for CRLF: a file
// without CR is read as converted. It is nil for what is no message.
func (m *Mailbox) recordOf(x found) (*record, error) {
	if x.length == 0 {
		return nil, nil
	}
	f := formCRLF
	r, err := x.open()
	if err != nil {
		return nil, err
	}
	cr, err := hasCR(r)
	r.Close()
	if err != nil {
		return nil, err
	}
	if cr {
		f = formVerbatim
	}
	if r, err = x.open(); err != nil {
		return nil, err
	}
	defer r.Close()
	h := dedupe.NewHasher()
	if _, err := io.Copy(h, restorer(r, f)); err != nil {
		return nil, err
	}
	fp, head := h.Sum()
	rec := &record{
		Type: "message", Adopted: true, File: text(x.where), Offset: x.offset, Length: x.length, Form: f.String(), Size: fp.Size,
		MessageID: text(head.MessageID), Flags: texts(x.flags),
	}
	rec.setDigests(fp)
	if m.a.marker.Format == Maildir {
		rec.Internal = timeText(x.date)
	} else if t, _, ok := head.When(); ok {
		rec.Date = timeText(t)
	}
	return rec, nil
}

func hasCR(r io.Reader) (bool, error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			if c == '\r' {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// beginJournal begins the journal of a new mailbox. It is durable with the next
// commit.
func (a *Archive) beginJournal(head *record) (*Mailbox, error) {
	line, err := appendLine(nil, head)
	if err != nil {
		return nil, err
	}
	id := a.nextID
	a.nextID++
	occupied, err := a.occupied(string(head.Path))
	if err != nil {
		return nil, err
	}
	// The index may remember a mailbox of this number whose journal was lost.
	stale := false
	err = a.index.View(func(tx *dedupe.Tx) error {
		stale = tx.Progress(id).Journal > 0
		return nil
	})
	if err == nil && (stale || occupied) {
		err = a.index.Update(func(tx *dedupe.Tx) error {
			if err := tx.Forget(id); err != nil || !occupied {
				return err
			}
			return tx.SetPending(id, true)
		})
	}
	if err != nil {
		return nil, err
	}
	// The head stands there twice: without it a journal is nobody's.
	line = append(line, line...)
	if err := a.appendLines(journalName(id), line); err != nil {
		return nil, err
	}
	a.fs.sync.dirChanged(path.Dir(journalName(id)))
	m := a.enter(id, head)
	m.journalEnd, m.pending = int64(len(line)), occupied
	return m, nil
}

// occupied reports whether there is mail already where a mailbox is to lie.
func (a *Archive) occupied(name string) (bool, error) {
	if a.marker.Format == Mbox {
		fi, err := a.fs.stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && fi.Size() > 0, err
	}
	for _, sub := range []string{"/cur", "/new"} {
		err := a.fs.entries(name+sub, func(fs.DirEntry) error { return fs.SkipAll })
		if err == fs.SkipAll {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}
