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
	return a.recover()
}

// adoptMailboxes begins a journal for each mailbox on the disk that has none:
// its journal was lost, or somebody put it there.
func (a *Archive) adoptMailboxes() error {
	return fs.WalkDir(a.fs.root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
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
			Mailbox: text(strings.Join(parts[1:], "/")), Delimiter: "/", Path: file, Adopted: true,
		}
		return a.beginJournal(head)
	})
}

// repair takes what no record speaks of into the journal: a message that was
// recorded under another name or place is followed there, any other becomes a
// message without an origin, for a later pull to bind.
func (m *Mailbox) repair(ctx context.Context, v *MailboxVerification) error {
	recorded := map[string]bool{}
	missing := map[dedupe.Digest]dedupe.Entry{} // by Canonical
	err := m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			recorded[m.recordKey(e)] = true
			if !m.store.present(e) {
				missing[e.Canonical] = e
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	var list []*record
	err = m.store.foreign(recorded, func(x found) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := m.recordOf(x)
		if err != nil || r == nil {
			return err
		}
		if e, ok := missing[dedupe.Digest(*r.Canonical)]; ok && e.Raw == dedupe.Digest(*r.Raw) {
			delete(missing, e.Canonical)
			r = &record{Type: "moved", Seq: e.Seq, File: r.File, Offset: r.Offset, Length: r.Length}
			v.FoundAgain++
		} else {
			v.Adopted++
		}
		r.At = time.Now().Unix()
		list = append(list, r)
		return nil
	})
	if err != nil || len(list) == 0 {
		return err
	}
	if err := m.appendRecords(list...); err != nil {
		return err
	}
	return m.enterAll(list)
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
		Type: "message", File: x.where, Offset: x.offset, Length: x.length, Form: f.String(), Size: fp.Size,
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

func (a *Archive) beginJournal(head *record) error {
	line, err := appendLine(nil, head)
	if err != nil {
		return err
	}
	id := a.nextID
	if err := a.appendLines(journalName(id), line); err != nil {
		return err
	}
	a.fs.sync.dirChanged(path.Dir(journalName(id)))
	a.nextID++
	a.enter(id, head).journalEnd = int64(len(line))
	return nil
}
