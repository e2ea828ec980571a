package fetch

import (
	"context"
	"errors"
	"io"
	"math"
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
	p.ledger.Facts = src.Facts()
	if flushed := a.Flush(); flushed != nil {
		p.lost("archive-failed")
		p.src.Drop()
		err = flushed
	} else {
		p.ledger.span(p.fresh.Oldest)
		p.ledger.span(p.fresh.Newest)
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
	fresh  Ledger // Oldest and Newest of what this run brought, which is not durable yet
}

// job is one mailbox on its way through a Pull.
type job struct {
	m     Mailbox
	box   *archive.Mailbox // nil before its turn and after it
	row   int              // in ledger.Mailboxes
	state State
	whole bool // there is a list that can be fetched from

	// While the mailbox is compared, listed is all that the server lists and want
	// the indices of what is wanted of it. Then listed holds the wanted alone.
	listed []Listed
	want   []int32
	fates  []fate // of listed, once it holds the wanted alone

	// names holds what a message without a unique-id is called instead.
	names map[int32]place
}

// fate is what became of a wanted message.
type fate byte

const (
	wanted  fate = iota
	got          // kept by this run
	refused      // the source could not give it
)

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
	if len(mailboxes) == 0 {
		// INBOX exists always (RFC 3501 §5.1): this is a fault, and no empty account.
		return &session.Error{Class: session.ClassProtocol, Reach: session.ReachAccount, Temporary: true, Reason: "list-empty"}
	}
	p.enter(mailboxes)
	if p.home, err = p.a.Enroll(acc); err != nil {
		return err
	}
	for i, j := range p.jobs {
		if p.o.Observer.Listing != nil {
			p.o.Observer.Listing(j.m.Name, i+1, len(p.jobs))
		}
		if err := p.begin(ctx, j); err != nil {
			return err
		}
	}
	p.ledger.ListedAll = true
	p.announce()
	for _, j := range p.jobs {
		if err := p.fetch(ctx, j); err != nil {
			return err
		}
		j.box, j.names = nil, nil
	}
	return nil
}

// enter opens the ledger's row of every mailbox, so that each stands there
// wherever the run ends.
func (p *puller) enter(mailboxes []Mailbox) {
	seen := make(map[string]bool, len(mailboxes))
	for _, m := range mailboxes {
		if !m.Selectable {
			continue
		}
		row := MailboxLedger{Name: m.Name, SpecialUse: m.SpecialUse, Server: messagesOf(m.Status)}
		if p.o.Exclude != nil && p.o.Exclude(m) {
			row.LeftOut, row.Excluded = row.Server, true
			p.ledger.Mailboxes = append(p.ledger.Mailboxes, row)
			continue
		}
		if seen[m.Name] {
			// What the two call their messages cannot be told apart in the archive.
			row.Err = &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Reason: "mailbox-named-twice"}
		}
		seen[m.Name] = true
		p.jobs = append(p.jobs, &job{m: m, row: len(p.ledger.Mailboxes)})
		p.ledger.Mailboxes = append(p.ledger.Mailboxes, row)
	}
}

// messagesOf is how many messages a STATUS speaks of; 0 if there was none.
func messagesOf(s *State) int {
	if s == nil {
		return 0
	}
	return int(min(s.Messages, math.MaxInt32))
}

// begin finds out what is wanted of a mailbox.
func (p *puller) begin(ctx context.Context, j *job) (err error) {
	if p.rowOf(j).Err != nil {
		return nil
	}
	j.box, err = p.a.Mailbox(p.home, archive.MailboxInfo{Name: j.m.Name, Delimiter: j.m.Delimiter, SpecialUse: j.m.SpecialUse})
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
	want, err := p.takeHeld(ctx, j)
	if err != nil {
		return err
	}
	if len(want) > 0 {
		at := make(map[place]int32, len(want))
		for i, l := range j.listed {
			if j.fates[i] == wanted {
				at[nameOf(l)] = int32(i)
			}
		}
		failures, err := p.src.Fetch(ctx, j.m, j.state, want, func(l Listed, r io.Reader) error {
			if ctx.Err() != nil {
				return ctx.Err() // not one more from what is buffered
			}
			w, ok := at[nameOf(l)]
			if !ok || j.fates[w] != wanted {
				return nil // nobody asked for it, or it is here: whose octets are these?
			}
			out, err := j.box.Add(archive.Meta{Query: j.query(w), InternalDate: l.InternalDate, Flags: l.Flags}, p.counted(r))
			if err != nil {
				return err
			}
			p.count(row, out)
			p.dealtWith(j, w)
			return nil
		})
		missing := map[place]int{}
		var ask []Listed
		for _, f := range failures {
			w, ok := at[nameOf(f.Listed)]
			if !ok || j.fates[w] != wanted {
				continue
			}
			p.failed(j, w, f)
			if !f.Gone && len(ask) < maxHeads {
				ask = append(ask, f.Listed)
				missing[nameOf(f.Listed)] = len(row.Missing) - 1
			}
		}
		if err != nil {
			// No headers then: to ask for them may mean to log in once more, with
			// what was refused a moment ago.
			return err
		}
		p.nameFailures(ctx, j, ask, missing)
	}
	if row.Err == nil && row.Held == row.Server && len(row.Missing) == 0 && len(row.Gone) == 0 {
		j.box.SetState(syncState(j.state))
	}
	return nil
}

// takeHeld keeps what need not be downloaded, and returns what must be.
func (p *puller) takeHeld(ctx context.Context, j *job) ([]Listed, error) {
	if !slices.ContainsFunc(j.listed, func(l Listed) bool { return l.SameAs != "" }) {
		return j.listed, nil
	}
	// What another mailbox brought a moment ago must be there to be found.
	if err := p.a.Flush(); err != nil {
		return nil, err
	}
	want := make([]Listed, 0, len(j.listed))
	for i, l := range j.listed {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ok, err := p.fromHeld(j, int32(i))
		if err != nil {
			return nil, err
		}
		if ok {
			p.dealtWith(j, int32(i))
			continue
		}
		want = append(want, l)
	}
	return want, nil
}

func (p *puller) count(row *MailboxLedger, out archive.Outcome) {
	p.fresh.span(out.Date)
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
	j.fates[w] = got
	if p.o.Observer.Message != nil {
		p.o.Observer.Message()
	}
}

// fromHeld keeps a message without downloading it, if the server says that a
// held message of another mailbox is the same, and its size does not say
// otherwise.
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
	out, err := j.box.Add(archive.Meta{Query: j.query(w), InternalDate: date, Flags: l.Flags}, &sizedReader{r, l.Size})
	var broken *archive.Error
	if err != nil && !errors.As(err, &broken) {
		return false, nil // the held copy cannot be read, or is another message: the server's can
	}
	if err == nil {
		p.count(p.rowOf(j), out)
	}
	return err == nil, err
}

// sizedReader fails at the end if that does not come after left octets.
type sizedReader struct {
	r    io.Reader
	left int64
}

var errOtherSize = errors.New("fetch: the held message has another size")

func (s *sizedReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.left -= int64(n)
	if err == io.EOF && s.left != 0 {
		err = errOtherSize
	}
	return n, err
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
	j.fates[w] = refused
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

// nameFailures names by their headers the messages ask, which stand in the row's
// Missing where missing says. Without its header a message is named by what the
// list says.
func (p *puller) nameFailures(ctx context.Context, j *job, ask []Listed, missing map[place]int) {
	if len(ask) == 0 || ctx.Err() != nil {
		return
	}
	row := p.rowOf(j)
	_ = p.src.Heads(ctx, j.m, j.state, ask, func(l Listed, octets []byte) error {
		i, ok := missing[nameOf(l)]
		if !ok {
			return nil
		}
		n, h := &row.Missing[i], dedupe.ScanHead(octets)
		n.From, n.Subject = h.From, h.Subject
		if t, _, ok := h.When(); ok && n.Date.IsZero() {
			n.Date = t
		}
		return nil
	})
}

// maxNameless bounds how many entries without a name a ledger has: what a server
// counts and does not list may be any number.
const maxNameless = 100_000

// close names what was not reached, so that the ledger adds up.
func (p *puller) close(ctx context.Context) {
	reason := "not-reached"
	if ctx.Err() != nil {
		reason = "interrupted"
	}
	nameless := 0
	for _, j := range p.jobs {
		row := p.rowOf(j)
		n := 0
		for _, f := range j.fates {
			if f == wanted {
				n++
			}
		}
		row.Missing = slices.Grow(row.Missing, n)
		for i, l := range j.listed {
			if j.fates[i] == wanted {
				row.Missing = append(row.Missing, named(l, reason))
			}
		}
		j.listed, j.fates = nil, nil
		// The list was not read.
		for n := row.Server - row.Held - row.LeftOut - len(row.Missing); n > 0; n-- {
			if nameless++; nameless > maxNameless {
				row.Unlisted = n
				break
			}
			row.Missing = append(row.Missing, Named{Octets: -1, Reason: reason})
		}
	}
}

// lost takes back what this run stored: the archive could not make it durable.
func (p *puller) lost(reason string) {
	for _, j := range p.jobs {
		row := p.rowOf(j)
		for i, l := range j.listed {
			if j.fates[i] == got {
				j.fates[i] = refused
				row.Missing = append(row.Missing, named(l, reason))
				row.Held--
			}
		}
		row.New, row.Duplicate, row.NewOctets, row.CopyOctets, row.Flags = 0, 0, 0, 0, 0
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
