package fetch

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/dedupe"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// Pull brings every message of src that the archive does not hold yet into the
// archive, under the account acc, and returns the ledger. Which messages those
// are is found by comparing sets: what the server lists, what the archive
// knows. When Pull returns, everything the ledger calls held is durable.
//
// If ctx ends, what arrived completely is still committed and the ledger names
// the rest.
func Pull(ctx context.Context, src Source, a *archive.Archive, acc archive.Account, o Options) *Ledger {
	p := &puller{src: src, a: a, o: o, ledger: &Ledger{Account: acc.Name}}
	err := p.run(ctx, acc)
	if flushed := a.Flush(); flushed != nil {
		p.lost("archive-failed")
		p.src.Drop()
		err = flushed
	}
	p.close(ctx)
	p.ledger.Err = err
	return p.ledger
}

type puller struct {
	src    Source
	a      *archive.Archive
	o      Options
	home   archive.Enrolled
	jobs   []*job
	ledger *Ledger
}

// job is one mailbox on its way through a Pull.
type job struct {
	m      Mailbox
	box    *archive.Mailbox
	row    int // in ledger.Mailboxes
	state  State
	listed []Listed
	want   []int32 // indices in listed
	got    []int32 // of want, kept by this run
	failed []int32 // of want, that the source could not give
	whole  bool    // there is a list that can be fetched from

	// names holds what a message without a unique-id is called instead.
	names map[int32]place
}

// query asks the archive about the i-th listed message.
func (j *job) query(i int32) archive.Query {
	l := j.listed[i]
	q := archive.Query{UIDValidity: j.state.UIDValidity, UID: l.UID, Ordinal: l.Ordinal, Size: l.Size, Same: l.SameAs}
	if n, ok := j.names[i]; ok {
		q.UID, q.Ordinal = n.uid, n.ordinal
	}
	return q
}

func (p *puller) rowOf(j *job) *MailboxLedger { return &p.ledger.Mailboxes[j.row] }

func (p *puller) run(ctx context.Context, acc archive.Account) error {
	mailboxes, err := p.src.Mailboxes(ctx)
	p.ledger.Facts = p.src.Facts()
	if err != nil {
		return err
	}
	if p.home, err = p.a.Enroll(acc); err != nil {
		return err
	}
	for i, m := range mailboxes {
		if p.o.Observer.Listing != nil {
			p.o.Observer.Listing(m.Name, i+1, len(mailboxes))
		}
		if err := p.begin(ctx, m); err != nil {
			return err
		}
	}
	p.ledger.ListedAll = true
	p.announce()
	for _, j := range p.jobs {
		if err := p.fetch(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// begin opens the ledger's row for a mailbox and finds out what is wanted of it.
func (p *puller) begin(ctx context.Context, m Mailbox) error {
	if !m.Selectable {
		return nil
	}
	row := MailboxLedger{Name: m.Name, SpecialUse: m.SpecialUse}
	if p.o.Exclude != nil && p.o.Exclude(m) {
		if m.Status != nil {
			row.Server, row.LeftOut = int(m.Status.Messages), int(m.Status.Messages)
		}
		row.Excluded = true
		p.ledger.Mailboxes = append(p.ledger.Mailboxes, row)
		return nil
	}
	if m.Status != nil {
		row.Server = int(m.Status.Messages)
	}
	j := &job{m: m, row: len(p.ledger.Mailboxes)}
	p.ledger.Mailboxes = append(p.ledger.Mailboxes, row)
	p.jobs = append(p.jobs, j)
	var err error
	j.box, err = p.a.Mailbox(p.home, archive.MailboxInfo{Name: m.Name, Delimiter: m.Delimiter, SpecialUse: m.SpecialUse})
	if err != nil {
		return err
	}
	unchanged, err := p.unchanged(ctx, j)
	if err == nil && !unchanged {
		err = p.list(ctx, j)
	}
	return p.reach(ctx, j, err)
}

// reach decides whether an error ends the account, or this mailbox alone.
func (p *puller) reach(ctx context.Context, j *job, err error) error {
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if endsMailbox(err) {
		p.rowOf(j).Err = err
		return nil
	}
	if errors.Is(err, ErrChanged) {
		p.rowOf(j).Err = &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Temporary: true, Reason: "uidvalidity-changing"}
		return nil
	}
	return err
}

// endsMailbox reports whether an error reaches no further than one mailbox.
func endsMailbox(err error) bool {
	var e *session.Error
	return errors.As(err, &e) && e.Reach <= session.ReachMailbox
}

// fetch brings what is wanted of one mailbox.
func (p *puller) fetch(ctx context.Context, j *job) error {
	if !j.whole || p.rowOf(j).Unchanged {
		return nil
	}
	err := p.fetchWanted(ctx, j)
	if errors.Is(err, ErrChanged) {
		// The mailbox is another one now. Its list is made once more.
		if err = p.list(ctx, j); err == nil {
			err = p.fetchWanted(ctx, j)
		}
	}
	return p.reach(ctx, j, err)
}

func (p *puller) fetchWanted(ctx context.Context, j *job) error {
	row := p.rowOf(j)
	j.got, j.failed = nil, nil
	if slices.ContainsFunc(j.want, func(w int32) bool { return j.listed[w].SameAs != "" }) {
		// What another mailbox brought a moment ago must be there to be found.
		if err := p.a.Flush(); err != nil {
			return err
		}
	}
	want := make([]Listed, 0, len(j.want))
	at := make(map[place]int32, len(j.want))
	for _, w := range j.want {
		l := j.listed[w]
		ok, err := p.fromHeld(j, w)
		if err != nil {
			return err
		}
		if ok {
			p.dealtWith(j, w)
			continue
		}
		want = append(want, l)
		at[nameOf(l)] = w
	}
	if len(want) > 0 {
		failures, err := p.src.Fetch(ctx, j.m, j.state, want, func(l Listed, r io.Reader) error {
			if ctx.Err() != nil {
				return ctx.Err() // not one more from what is buffered
			}
			w := at[nameOf(l)]
			out, err := j.box.Add(archive.Meta{Query: j.query(w), InternalDate: l.InternalDate, Flags: l.Flags}, p.counted(r))
			if err != nil {
				return err
			}
			p.count(row, out)
			p.dealtWith(j, w)
			return nil
		})
		for _, f := range failures {
			p.failed(j, at[nameOf(f.Listed)], f)
		}
		p.nameFailures(ctx, j, failures)
		if err != nil {
			return err
		}
	}
	if row.Err == nil && row.Held == row.Server && len(row.Missing) == 0 && len(row.Gone) == 0 {
		j.box.SetState(syncState(j.state))
	}
	return nil
}

func (p *puller) count(row *MailboxLedger, out archive.Outcome) {
	p.ledger.span(out.Date)
	if !out.Stored {
		row.Duplicate++
		return
	}
	row.New++
	row.NewOctets += out.Octets
	row.CopyOctets += out.CopyOctets
}

func (p *puller) dealtWith(j *job, w int32) {
	p.rowOf(j).Held++
	j.got = append(j.got, w)
	if p.o.Observer.Message != nil {
		p.o.Observer.Message()
	}
}

// fromHeld keeps a message without downloading it, if the server says that a
// held message of another mailbox is the same.
func (p *puller) fromHeld(j *job, w int32) (bool, error) {
	l := j.listed[w]
	if l.SameAs == "" {
		return false, nil
	}
	r, date, ok := j.box.Known(l.SameAs)
	if !ok {
		return false, nil
	}
	defer r.Close()
	out, err := j.box.Add(archive.Meta{Query: j.query(w), InternalDate: date, Flags: l.Flags}, r)
	var broken *archive.Error
	if err != nil && !errors.As(err, &broken) {
		return false, nil // the held copy cannot be read: the server's can
	}
	if err == nil {
		p.count(p.rowOf(j), out)
	}
	return err == nil, err
}

type countingReader struct {
	r  io.Reader
	fn func(int)
}

func (c countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.fn(n)
	return n, err
}

func (p *puller) counted(r io.Reader) io.Reader {
	if p.o.Observer.Octets == nil {
		return r
	}
	return countingReader{r, p.o.Observer.Octets}
}

// failed enters a message the source could not give.
func (p *puller) failed(j *job, w int32, f Failure) {
	row := p.rowOf(j)
	n := named(j.listed[w], "refused")
	if f.Err != nil {
		n.Reason, n.Server = f.Err.Reason, f.Err.Server
	}
	if f.Gone {
		n.Reason = "gone"
		row.Gone = append(row.Gone, n)
		row.Server--
	} else {
		row.Missing = append(row.Missing, n)
	}
	j.failed = append(j.failed, w)
	if p.o.Observer.Message != nil {
		p.o.Observer.Message()
	}
}

func named(l Listed, reason string) Named {
	return Named{UID: l.UID, Octets: l.Size, Date: l.InternalDate, Reason: reason}
}

// maxHeads bounds how many failed messages are asked for their header, to be
// named by it.
const maxHeads = 200

func (p *puller) nameFailures(ctx context.Context, j *job, failures []Failure) {
	var ask []Listed
	for _, f := range failures {
		if !f.Gone && len(ask) < maxHeads {
			ask = append(ask, f.Listed)
		}
	}
	if len(ask) == 0 || ctx.Err() != nil {
		return
	}
	row := p.rowOf(j)
	// Best effort: without the header a message is named by what the list says.
	_ = p.src.Heads(ctx, j.m, j.state, ask, func(l Listed, octets []byte) error {
		h := dedupe.ScanHead(octets)
		for i := range row.Missing {
			n := &row.Missing[i]
			if n.UID != l.UID || n.From != "" {
				continue
			}
			n.From, n.Subject = h.From, h.Subject
			if t, _, ok := h.When(); ok && n.Date.IsZero() {
				n.Date = t
			}
			break
		}
		return nil
	})
}

// close names what was not reached, so that Server = Held + Missing + LeftOut.
func (p *puller) close(ctx context.Context) {
	reason := "not-reached"
	if ctx.Err() != nil {
		reason = "interrupted"
	}
	for _, j := range p.jobs {
		row := p.rowOf(j)
		done := make(map[int32]bool, len(j.got))
		for _, w := range slices.Concat(j.got, j.failed) {
			done[w] = true
		}
		for _, w := range j.want {
			if !done[w] {
				row.Missing = append(row.Missing, named(j.listed[w], reason))
			}
		}
		for n := row.Server - row.Held - row.LeftOut - len(row.Missing); n > 0; n-- {
			row.Missing = append(row.Missing, Named{Octets: -1, Reason: reason}) // the list was not read
		}
	}
}

// lost takes back what this run stored: the archive could not make it durable.
func (p *puller) lost(reason string) {
	for _, j := range p.jobs {
		row := p.rowOf(j)
		for _, w := range j.got {
			row.Missing = append(row.Missing, named(j.listed[w], reason))
			row.Held--
		}
		row.New, row.Duplicate, row.NewOctets, row.CopyOctets = 0, 0, 0, 0
	}
}

// span widens the dates the ledger speaks of.
func (l *Ledger) span(t time.Time) {
	if t.IsZero() {
		return
	}
	if l.Oldest.IsZero() || t.Before(l.Oldest) {
		l.Oldest = t
	}
	if t.After(l.Newest) {
		l.Newest = t
	}
}
