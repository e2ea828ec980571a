package archive

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// Meta is what a server says of a message beside its octets.
type Meta struct {
	Query
	InternalDate time.Time // with the server's zone; zero if the source has none
	Flags        []string  // system flags and keywords
}

// Outcome says what became of a message.
type Outcome struct {
	Stored     bool      // kept by this call; otherwise it was held already, and only its origin was recorded
	Octets     int64     // as received
	CopyOctets int64     // of Octets: also held in another mailbox, and stored again there being no link
	Date       time.Time // INTERNALDATE, or the message's own; zero if neither is known
}

// maxInMemory is the size up to which a message waits in memory for its batch;
// a larger one goes to the spool while it arrives.
const maxInMemory = 512 << 10

// message is a message on its way through a batch.
type message struct {
	m      *Mailbox
	rec    *record
	fp     dedupe.Fingerprint
	seq    uint32
	octets []byte // stored form, in the batch's memory; nil if it is in the spool
	spool  string // name in the spool; "" until it is there
	date   time.Time
	sender string
	twin   *twin // the same octets in another mailbox
}

// twin is a held message that a link may be made to.
type twin struct {
	m *Mailbox
	e dedupe.Entry
	p *message // or one of a batch that is not indexed yet
}

// Add reads a message to its end and keeps it, unless the mailbox holds it
// already. It is durable, and may be reported as held, when a later Flush
// returns nil.
//
// An error of r is returned as it is, and nothing is kept: a message counts
// only when r gave io.EOF. Other errors are *Error and end the archive.
func (m *Mailbox) Add(meta Meta, r io.Reader) (Outcome, error) {
	rd := receivers.Get().(*receiver)
	defer receivers.Put(rd)
	rd.hasher.Reset()
	octets, large, err := rd.receive(m.a, r)
	if err != nil {
		return Outcome{}, err
	}
	fp, head := rd.hasher.Sum()
	msg := &message{m: m, fp: fp, date: meta.InternalDate, sender: senderOf(head)}
	rec := &record{
		Type: "message", Size: fp.Size, MessageID: text(head.MessageID), Internal: timeText(meta.InternalDate),
		Flags: texts(meta.Flags), Origin: m.originRecord(meta.Query),
	}
	rec.setDigests(fp)
	if msg.date.IsZero() {
		if t, _, ok := head.When(); ok {
			msg.date = t
			rec.Date = timeText(t)
		}
	}
	msg.rec = rec
	f := formVerbatim
	switch {
	case large != nil:
		f, msg.spool, rec.Length = large.form, large.name, large.n
	case onlyCRLF(octets):
		f = formCRLF
	}
	rec.Form = f.String()
	out, err := m.join(msg, octets, f)
	if !out.Stored && large != nil {
		m.a.fs.remove(spoolDir + "/" + large.name)
	}
	return out, err
}

// receiver is what reading one message takes.
type receiver struct {
	hasher  *dedupe.Hasher
	scratch []byte
}

// receivers are shared by all mailboxes: there may be thousands.
var receivers = sync.Pool{New: func() any { return &receiver{dedupe.NewHasher(), make([]byte, 64<<10)} }}

// receive reads a message into memory, or into the spool if it is large. The
// octets are valid until the receiver is used again.
func (rd *receiver) receive(a *Archive, r io.Reader) (octets []byte, large *spool, err error) {
	n := 0
	for {
		if n == len(rd.scratch) {
			if n >= maxInMemory {
				break
			}
			rd.scratch = append(rd.scratch, make([]byte, min(3*n, maxInMemory-n))...)
		}
		k, err := r.Read(rd.scratch[n:])
		rd.hasher.Write(rd.scratch[n : n+k])
		n += k
		if err == io.EOF {
			return rd.scratch[:n], nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	f, name, err := a.spoolFile()
	if err != nil {
		return nil, nil, failure(spoolDir, err)
	}
	s := &spool{a: a, name: name, f: f, form: formCRLF}
	if _, err := s.Write(rd.scratch[:n]); err != nil {
		s.discard()
		return nil, nil, failure(spoolDir, err)
	}
	for {
		k, err := r.Read(rd.scratch)
		rd.hasher.Write(rd.scratch[:k])
		if _, werr := s.Write(rd.scratch[:k]); werr != nil {
			s.discard()
			return nil, nil, failure(spoolDir, werr)
		}
		if err == io.EOF {
			if err := s.finish(); err != nil {
				return nil, nil, failure(spoolDir, err)
			}
			return nil, s, nil
		}
		if err != nil {
			s.discard()
			return nil, nil, err
		}
	}
}

// join decides whether the message is held already, and puts it, or its
// origin, into the open batch.
func (m *Mailbox) join(msg *message, octets []byte, f form) (Outcome, error) {
	a := m.a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committer.current() // waits here if it must: nothing may come between looking and joining
	if err := a.committer.err; err != nil {
		return Outcome{}, err
	}
	same, twin, replaces, err := m.equals(msg.fp, msg.date)
	if err != nil {
		return Outcome{}, failure(indexFile, err)
	}
	out := Outcome{Octets: msg.fp.Size, Date: msg.date}
	if same != 0 {
		m.listed[same] = true
		if msg.rec.Origin == nil {
			return out, nil
		}
		return out, a.committer.add(m, &record{Type: "origin", Seq: same, Origin: msg.rec.Origin})
	}
	out.Stored = true
	msg.seq = replaces
	if replaces == 0 {
		msg.seq = m.nextSeq
		m.nextSeq++
	}
	msg.rec.Seq = msg.seq
	m.listed[msg.seq] = true
	msg.twin = twin
	if twin != nil && (a.marker.Format == Mbox || !a.links() || twin.e.Raw != msg.fp.Raw || !twin.e.Date.Equal(msg.date)) {
		msg.twin = nil
		out.CopyOctets = msg.fp.Size
	}
	return out, a.committer.addMessage(msg, octets, f)
}

// equals looks for the message among those held. same is the message of this
// mailbox it is, or 0; twin a copy in another mailbox; replaces the number of
// an equal message of this mailbox whose file is gone.
func (m *Mailbox) equals(fp dedupe.Fingerprint, date time.Time) (same uint32, t *twin, replaces uint32, err error) {
	consider := func(box *Mailbox, e dedupe.Entry, pending *message) {
		switch {
		case box.kept != m.kept:
			// Any copy will do to say so; one that a link can be made to is better.
			if t == nil || e.Raw == fp.Raw && e.Date.Equal(date) {
				t = &twin{box, e, pending}
			}
		case pending == nil && !m.store.present(e):
			if e.Raw == fp.Raw {
				replaces = e.Seq
			}
		case e.Raw == fp.Raw:
			same = e.Seq
		case !m.listed[e.Seq] && same == 0:
			// Equal but for line ends and NULs, and never listed beside this one.
			same = e.Seq
		}
	}
	for _, p := range m.a.committer.pending[fp.Canonical] {
		// Its record is the committer's by now: where it will stand is not known yet.
		consider(p.m, dedupe.Entry{Seq: p.seq, Fingerprint: p.fp, Date: p.date}, p)
	}
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		for _, ref := range tx.Canonical(fp.Canonical) {
			box := m.a.byID[ref.Mailbox]
			e, ok := tx.Entry(ref.Mailbox, ref.Seq)
			if box == nil || !ok || e.Canonical != fp.Canonical {
				continue
			}
			consider(box, e, nil)
		}
		return nil
	})
	return same, t, replaces, err
}

// Known returns the octets of a message this account's server calls by the
// same name (X-GM-MSGID, EMAILID), if it is held and its file is sound. The
// caller closes r. date is the INTERNALDATE recorded with it.
func (m *Mailbox) Known(same string) (r io.ReadCloser, date time.Time, ok bool) {
	a := m.a
	a.mu.Lock()
	defer a.mu.Unlock()
	var box *Mailbox
	var e dedupe.Entry
	a.index.View(func(tx *dedupe.Tx) error {
		ref, found := tx.Same(m.account, m.epoch, same)
		if !found {
			return nil
		}
		box = a.byID[ref.Mailbox]
		e, ok = tx.Entry(ref.Mailbox, ref.Seq)
		return nil
	})
	if !ok || box == nil || box.store.look(false) != nil || !box.store.present(e) {
		return nil, date, false
	}
	r, err := box.read(e)
	return r, e.Date, err == nil
}

// read returns the octets of a held message as they were received. The reader
// fails at the end if they are not those that were recorded.
func (m *Mailbox) read(e dedupe.Entry) (io.ReadCloser, error) {
	r, err := m.store.open(e)
	if err != nil {
		return nil, err
	}
	f, _ := formOf(e)
	return &proven{r: restorer(r, f), c: r, h: dedupe.NewHasher(), want: e.Raw}, nil
}

// isRaw reports whether r gives the octets of this digest.
func isRaw(r io.Reader, want dedupe.Digest) (bool, error) {
	_, err := io.Copy(io.Discard, &proven{r: r, h: dedupe.NewHasher(), want: want})
	if errors.Is(err, errNotEqual) {
		return false, nil
	}
	return err == nil, err
}

// errNotEqual is how a proven reader ends when the octets differ.
var errNotEqual = errors.New("archive: the stored octets are not those that were recorded")

// proven gives io.EOF only if all that was read has the recorded digest.
type proven struct {
	r    io.Reader
	c    io.Closer
	h    *dedupe.Hasher
	want dedupe.Digest
}

func (p *proven) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.h.Write(b[:n])
	if err == io.EOF {
		if fp, _ := p.h.Sum(); fp.Raw != p.want {
			err = errNotEqual
		}
	}
	return n, err
}

func (p *proven) Close() error { return p.c.Close() }

// senderOf picks the address for an mbox From_ line.
func senderOf(h dedupe.Head) string {
	from := h.From
	if i := strings.LastIndexByte(from, '<'); i >= 0 {
		if j := strings.IndexByte(from[i:], '>'); j > 0 {
			return from[i+1 : i+j]
		}
	}
	return strings.TrimSpace(from)
}

// sameStored reports whether a file holds exactly the octets that want gives,
// length of them.
func sameStored(d *disk, name string, want io.Reader, length int64) bool {
	fi, err := d.stat(name)
	if err != nil || fi.Size() != length || fi.Mode()&fs.ModeType != 0 {
		return false
	}
	f, err := d.open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var a, b [32 << 10]byte
	for left := length; left > 0; {
		n := min(left, int64(len(a)))
		if _, err := io.ReadFull(f, a[:n]); err != nil {
			return false
		}
		if _, err := io.ReadFull(want, b[:n]); err != nil || !bytes.Equal(a[:n], b[:n]) {
			return false
		}
		left -= n
	}
	return true
}
