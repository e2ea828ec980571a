package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// VerifyOptions say how much Verify does.
type VerifyOptions struct {
	Accounts func(name string) bool  // nil: all
	Repair   bool                    // rebuild the index from files and journals, take files without a record into the journal
	Progress func(done, total int64) // octets; may be nil
}

// Verification is what Verify found.
type Verification struct {
	Mailboxes []MailboxVerification
	Rebuilt   bool // the index was built anew
}

// MailboxVerification is what Verify found in one mailbox.
type MailboxVerification struct {
	Account, Mailbox string
	Messages         int   // recorded
	Octets           int64 // stored octets read
	Sound            int   // read back and equal to their record
	NotCompared      int   // of Sound: bound to the server without their body having been compared
	Altered          []Finding
	Lost             []Finding
	Foreign          []Finding // files or entries that are no record's
	Adopted          int       // with Repair: foreign messages taken into the journal
	FoundAgain       int       // with Repair: messages whose file another program had renamed or moved
}

// A Finding names one message or file.
type Finding struct {
	Path      string
	Offset    int64
	MessageID string
	Date      time.Time
	From      string // raw
	Subject   string // raw
}

// Clean reports whether nothing is altered or lost.
func (v *Verification) Clean() bool {
	for _, m := range v.Mailboxes {
		if len(m.Altered) > 0 || len(m.Lost) > 0 {
			return false
		}
	}
	return true
}

// Verify re-reads every file and compares it with its record. It ends early
// only with ctx, or if the archive as a whole cannot be read. An archive that
// cannot be written cannot be opened, and so not verified: nothing keeps another
// computer from writing to it meanwhile.
func (a *Archive) Verify(ctx context.Context, o VerifyOptions) (*Verification, error) {
	if err := a.Flush(); err != nil {
		return nil, err
	}
	v := &Verification{}
	if o.Repair {
		if err := a.rebuild(); err != nil {
			return nil, failure(a.fs.path, err)
		}
		v.Rebuilt = true
	}
	var boxes []*Mailbox
	var total int64
	for _, m := range a.sortedMailboxes() {
		if o.Accounts != nil && !o.Accounts(m.account) {
			continue
		}
		boxes = append(boxes, m)
		err := a.index.View(func(tx *dedupe.Tx) error {
			return tx.Entries(m.id, func(e dedupe.Entry) error {
				total += e.Length
				return nil
			})
		})
		if err != nil {
			return nil, failure(indexFile, err)
		}
	}
	var done int64
	for _, m := range boxes {
		found, err := m.verify(ctx, o, func(n int64) {
			done += n
			if o.Progress != nil {
				o.Progress(done, total)
			}
		})
		if err != nil {
			if ctx.Err() != nil {
				return v, ctx.Err()
			}
			return v, failure(m.path, err)
		}
		v.Mailboxes = append(v.Mailboxes, found)
	}
	return v, nil
}

func (m *Mailbox) verify(ctx context.Context, o VerifyOptions, read func(int64)) (MailboxVerification, error) {
	v := MailboxVerification{Account: m.account, Mailbox: m.info.Name}
	if err := m.store.look(true); err != nil {
		return v, err
	}
	if o.Repair {
		if err := m.repair(ctx, &v); err != nil {
			return v, err
		}
		if err := m.tookUp(); err != nil {
			return v, err
		}
	}
	recorded := map[string]bool{}
	var altered, lost []dedupe.Entry
	unproved := map[uint32]bool{}
	err := m.a.index.View(func(tx *dedupe.Tx) error {
		if err := m.compareJournal(tx); err != nil {
			return err
		}
		if err := tx.AllOrigins(m.id, func(b dedupe.Bound) {
			if b.NotCompared {
				unproved[b.Seq] = true
			}
		}); err != nil {
			return err
		}
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v.Messages++
			recorded[m.recordKey(e)] = true
			equal, err := m.holds(e)
			if !errors.Is(err, fs.ErrNotExist) {
				v.Octets += e.Length
			}
			switch {
			case errors.Is(err, fs.ErrNotExist):
				lost = append(lost, e)
			case err != nil && !m.a.readable():
				return err
			case !equal:
				// A file that cannot be read, on a disk that can, is named like
				// one with other octets.
				altered = append(altered, e)
			default:
				v.Sound++
				if unproved[e.Seq] {
					v.NotCompared++
				}
			}
			read(e.Length)
			return nil
		})
	})
	if err != nil {
		return v, err
	}
	if err := m.store.foreign(recorded, func(x found) error {
		v.Foreign = append(v.Foreign, findingOf(x))
		return ctx.Err()
	}); err != nil {
		return v, err
	}
	v.Altered, err = m.findings(altered)
	if err == nil {
		v.Lost, err = m.findings(lost)
	}
	return v, err
}

func (m *Mailbox) recordKey(e dedupe.Entry) string {
	if m.a.marker.Format == Mbox {
		return offsetKey(e.Offset)
	}
	return e.Where
}

// compareJournal demands that the index knows each message that the journal
// tells of, as far as it has followed it: what the index misses, nobody would
// ask after. Lines that cannot be read any more are noted.
func (m *Mailbox) compareJournal(tx *dedupe.Tx) error {
	f, err := m.a.fs.open(journalName(m.id))
	if err != nil {
		return err
	}
	defer f.Close()
	var there []bool // by number
	var highest uint32
	_, bad, err := readJournal(io.LimitReader(f, tx.Progress(m.id).Journal), 0, func(r *record, _ int64) error {
		switch r.Type {
		case "message":
			seq := r.number(&highest)
			for int(seq) >= len(there) {
				there = append(there, false)
			}
			there[seq] = true
		case "void":
			for _, seq := range r.Void {
				if int(seq) < len(there) {
					there[seq] = false
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if bad > 0 {
		m.a.note(NoteDamagedJournal, journalName(m.id), bad)
		return nil // what a lost "void" took back is not known
	}
	for seq, ok := range there {
		if !ok {
			continue
		}
		if _, ok := tx.Entry(m.id, uint32(seq)); !ok {
			m.a.index.Distrust() // and so made anew by the next Open
			return &Error{Code: CodeDamaged, Path: indexFile, Text: fmt.Sprintf("message %d of %s is missing in it", seq, m.path)}
		}
	}
	return nil
}

// readable reports whether the archive's disk is still there.
func (a *Archive) readable() bool {
	_, err := a.fs.read(markerFile)
	return err == nil
}

// headOctets bounds what is read of a file to name it.
const headOctets = 64 << 10

func findingOf(x found) Finding {
	f := Finding{Path: x.path, Offset: x.offset, Date: x.date}
	r, err := x.open()
	if err != nil {
		return f
	}
	defer r.Close()
	octets, _ := io.ReadAll(io.LimitReader(r, headOctets))
	h := dedupe.ScanHead(octets)
	f.MessageID, f.From, f.Subject = h.MessageID, h.From, h.Subject
	return f
}

// findings names messages by what the journal and, where it is still
// readable, the file say of them.
func (m *Mailbox) findings(list []dedupe.Entry) ([]Finding, error) {
	if len(list) == 0 {
		return nil, nil
	}
	wanted := map[uint32]bool{}
	for _, e := range list {
		wanted[e.Seq] = true
	}
	f, err := m.a.fs.open(journalName(m.id))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, err := currentRecords(f, func(seq uint32, _ *record) bool { return wanted[seq] })
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, e := range list {
		f := Finding{Path: m.path, Offset: e.Offset, Date: e.Date}
		if e.Where != "" {
			f.Path += "/cur/" + e.Where
		}
		if octets, err := m.head(e); err == nil {
			h := dedupe.ScanHead(octets)
			f.From, f.Subject = h.From, h.Subject
		}
		if r := records[e.Seq]; r != nil {
			f.MessageID = string(r.MessageID)
			if f.Date.IsZero() {
				f.Date = parseTimeText(r.Date)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

func (m *Mailbox) head(e dedupe.Entry) ([]byte, error) {
	r, err := m.store.open(e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, headOctets))
}

// currentRecords reads a journal and returns the message records that count,
// by number, of those that want asks for.
func currentRecords(r io.Reader, want func(seq uint32, r *record) bool) (map[uint32]*record, error) {
	all := map[uint32]*record{}
	var highest uint32
	_, _, err := readJournal(r, 0, func(r *record, _ int64) error {
		switch r.Type {
		case "message":
			seq := r.number(&highest)
			delete(all, seq)
			if want(seq, r) {
				all[seq] = r
			}
		case "moved":
			if old := all[r.Seq]; old != nil {
				old.Offset, old.Length = r.Offset, r.Length
				if r.File != "" {
					old.File = r.File
				}
			}
		case "void":
			for _, seq := range r.Void {
				delete(all, seq)
			}
		}
		return nil
	})
	return all, err
}
