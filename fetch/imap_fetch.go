package fetch

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

const (
	imapWindowsAhead = 8        // FETCH commands in flight at most; two are, however large
	imapUnknownSize  = 64 << 10 // octets a message counts for whose size is not known
	barrenNetwork    = 3        // sessions in a row that brought no message before the line is given up
	barrenProtocol   = 10       // the same where the answers are what breaks: each names one message
)

// Fetch fetches the messages want of m.
func (s *imapSource) Fetch(ctx context.Context, m Mailbox, state State, want []Listed, fn func(Listed, io.Reader) error) ([]Failure, error) {
	j := &imapJob{s: s, ctx: ctx, m: m, state: state}
	b := s.ahead.box(m)
	j.whole = b != nil && b.uids != nil && len(want) == b.count
	j.each = func(w *imapWant, body *imapBody) error { return fn(w.l, body) }
	return j.run(want)
}

// Heads fetches the headers of the messages want of m.
func (s *imapSource) Heads(ctx context.Context, m Mailbox, state State, want []Listed, fn func(Listed, []byte) error) error {
	j := &imapJob{s: s, ctx: ctx, m: m, state: state, heads: true}
	j.each = func(w *imapWant, body *imapBody) error {
		head, err := io.ReadAll(io.LimitReader(body, maxHeader+1))
		if err != nil {
			return err
		}
		if len(head) == 0 || len(head) > maxHeader {
			return nil
		}
		return fn(w.l, head)
	}
	_, err := j.run(want)
	return err
}

// imapWant is a message that is to be fetched.
type imapWant struct {
	l     Listed
	uid   imap.UID
	done  bool
	tries int            // attempts that ended without it and without a cause of others
	why   *session.Error // of the last one; nil: the answer was not there
}

// imapWindow is what one FETCH asks for, in ascending order of UIDs.
type imapWindow struct {
	want  []*imapWant
	aside bool // under suspicion: fetched with nothing else in flight
}

func (w *imapWindow) octets() (n int64) {
	for _, m := range w.want {
		if m.l.Size < 0 {
			n += imapUnknownSize
		}
		n += max(m.l.Size, 0)
	}
	return n
}

// rest returns what of the window was not fetched.
func (w *imapWindow) rest() []*imapWant {
	var rest []*imapWant
	for _, m := range w.want {
		if !m.done {
			rest = append(rest, m)
		}
	}
	return rest
}

// uids returns what is wanted as a set.
func (w *imapWindow) uids() (set imap.UIDSet) {
	for i := 0; i < len(w.want); {
		k := i
		for k+1 < len(w.want) && w.want[k+1].uid == w.want[k].uid+1 {
			k++
		}
		set = append(set, imap.UIDRange{Start: w.want[i].uid, Stop: w.want[k].uid})
		i = k + 1
	}
	return set
}

func (w *imapWindow) find(uid imap.UID) *imapWant {
	i, ok := slices.BinarySearchFunc(w.want, uid, func(m *imapWant, uid imap.UID) int { return cmp.Compare(m.uid, uid) })
	if !ok {
		return nil
	}
	return w.want[i]
}

// imapJob is one run of Fetch or Heads.
type imapJob struct {
	s     *imapSource
	ctx   context.Context
	m     Mailbox
	state State
	heads bool
	whole bool // all that was listed is wanted
	each  func(*imapWant, *imapBody) error

	queue  []*imapWindow
	aside  []*imapWindow
	absent []*imapWant // asked for twice in vain
	fails  []Failure

	flights []*imapFlight
	events  chan imapEvent
	topped  bool
	brought int // messages that the present session brought
	barren  int // sessions in a row that brought none
}

// callerError is an error of the caller's function, which ends the job as it is.
type callerError struct{ err error }

func (e callerError) Error() string { return e.err.Error() }

func (j *imapJob) run(want []Listed) ([]Failure, error) {
	j.plan(want)
	if len(j.queue) == 0 {
		return j.fails, nil
	}
	for {
		err := j.session()
		if err == nil {
			return j.fails, nil
		}
		var mine callerError
		switch {
		case errors.As(err, &mine):
			return j.fails, mine.err
		case j.ctx.Err() != nil:
			return j.fails, j.ctx.Err()
		}
		var e *session.Error
		if !errors.As(err, &e) || e.Class != session.ClassNetwork && e.Class != session.ClassProtocol {
			return j.fails, err
		}
		if j.brought > 0 {
			j.barren = 0
		} else {
			j.barren++
		}
		if j.barren >= barrenProtocol || e.Class == session.ClassNetwork && j.barren >= barrenNetwork {
			return j.fails, err
		}
		if err := j.pause(); err != nil {
			return j.fails, err
		}
	}
}

func (j *imapJob) pause() error {
	t := time.NewTimer(j.s.pauses[min(j.barren, len(j.s.pauses)-1)])
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}

// plan cuts want into windows.
func (j *imapJob) plan(want []Listed) {
	var all []*imapWant
	for _, l := range want {
		uid, err := strconv.ParseUint(l.UID, 10, 32)
		if err != nil || uid == 0 {
			j.fail(&imapWant{l: l}, &session.Error{Class: session.ClassLocal, Reason: "uid-invalid", Err: err})
			continue
		}
		all = append(all, &imapWant{l: l, uid: imap.UID(uid)})
	}
	slices.SortStableFunc(all, func(a, b *imapWant) int { return cmp.Compare(a.uid, b.uid) })
	all = slices.CompactFunc(all, func(a, b *imapWant) bool { return a.uid == b.uid })
	w := &imapWindow{}
	var octets int64
	var length int
	for _, m := range all {
		size := max(m.l.Size, 0)
		if j.heads {
			size = 0
		}
		gap := len(w.want) == 0 || m.uid != w.want[len(w.want)-1].uid+1
		if len(w.want) > 0 && (len(w.want) >= j.s.o.FetchCount || octets+size > j.s.o.FetchOctets || gap && length > uidSetLength) {
			j.queue = append(j.queue, w)
			w, octets, length = &imapWindow{}, 0, 0
		}
		w.want = append(w.want, m)
		octets += size
		if gap {
			length += uidRangeLength
		}
	}
	if len(w.want) > 0 {
		j.queue = append(j.queue, w)
	}
}

func (j *imapJob) fail(w *imapWant, why *session.Error) {
	if j.heads {
		w.done = true
		return
	}
	e := *why
	e.Reach = session.ReachMessage
	w.done = true
	j.fails = append(j.fails, Failure{Listed: w.l, Err: &e})
}

// session does what can be done with one session. It returns nil when all is
// done. After any other error but a caller's the job may go on with the next
// session.
func (j *imapJob) session() error {
	j.brought = 0
	release, err := j.s.use(j.ctx)
	if err != nil {
		return err
	}
	defer release()
	j.begin()
	if err := j.s.reexamine(j.ctx, j.m, j.state); err != nil {
		return err
	}
	j.events = make(chan imapEvent)
	for {
		if err := j.send(); err != nil {
			return err
		}
		if len(j.flights) == 0 {
			break
		}
		ev := <-j.events
		if ev.msg == nil {
			err = j.landed(ev.f)
		} else {
			err = j.message(ev.f, ev.msg)
			ev.f.next <- struct{}{}
		}
		if err != nil {
			return err
		}
	}
	return j.lookAgain()
}

// begin sends the first commands in one flight.
func (j *imapJob) begin() {
	var first *session.Ahead
	for _, w := range slices.Concat(j.queue, j.aside) {
		if rest := w.rest(); len(rest) > 0 {
			f := session.FetchAhead((&imapWindow{want: rest}).uids(), bodyOptions(j.heads))
			first = &f
			break
		}
	}
	walk := walkFetch
	if j.heads || !j.whole {
		walk = walkPart
	}
	j.s.begin(walk, j.m, first)
}

// send keeps the line busy.
func (j *imapJob) send() error {
	var octets int64
	for _, f := range j.flights {
		octets += f.w.octets()
		if f.w.aside {
			return nil
		}
	}
	for len(j.queue) > 0 && len(j.flights) < imapWindowsAhead && (len(j.flights) < 2 || octets < j.s.o.FetchOctets) {
		w := j.queue[0]
		j.queue = j.queue[1:]
		if w.want = w.rest(); len(w.want) == 0 {
			continue
		}
		if there, err := j.back(w); err != nil || !there {
			j.queue = append([]*imapWindow{w}, j.queue...)
			return err
		}
		octets += w.octets()
		j.flights = append(j.flights, j.fly(w))
	}
	for len(j.flights) == 0 && len(j.aside) > 0 {
		w := j.aside[0]
		j.aside = j.aside[1:]
		if w.want = w.rest(); len(w.want) == 0 {
			continue
		}
		if _, err := j.back(w); err != nil {
			j.aside = append([]*imapWindow{w}, j.aside...)
			return err
		}
		w.aside = true
		j.flights = append(j.flights, j.fly(w))
	}
	if !j.topped && !j.heads && len(j.queue) == 0 && len(j.flights) > 0 && len(j.aside) == 0 {
		j.topped = true
		j.s.topUp()
	}
	return nil
}

// back makes sure that the FETCH for w is answered out of the right mailbox. It
// returns false if there are answers to be waited for first.
func (j *imapJob) back(w *imapWindow) (bool, error) {
	if j.s.m.Next(session.FetchAhead(w.uids(), bodyOptions(j.heads))) || j.s.isOpen(j.m) {
		return true, nil
	}
	if len(j.flights) > 0 {
		return false, nil
	}
	return true, j.s.back(j.ctx, j.m, j.state.UIDValidity)
}

// message deals with one FETCH response.
func (j *imapJob) message(f *imapFlight, msg *imapclient.FetchMessageData) error {
	var w *imapWant
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			w = f.w.find(item.UID)
		case imapclient.FetchItemDataInternalDate:
			if w != nil {
				w.l.InternalDate = item.Time
			}
		case imapclient.FetchItemDataBodySection:
			if w == nil || w.done {
				continue
			}
			if err := j.body(f, w, item.Literal); err != nil {
				return err
			}
		}
	}
	return nil
}

// body hands a body to the caller.
func (j *imapJob) body(f *imapFlight, w *imapWant, lit imap.LiteralReader) error {
	switch {
	case lit == nil && j.heads:
		w.done = true
		return nil
	case lit == nil:
		w.why = &session.Error{Class: session.ClassProtocol, Reason: "body-nil"}
		return nil
	case lit.Size() == 0 && w.l.Size != 0 && !j.heads:
		// RFC822.SIZE may be wrong, but not that wrong.
		w.why = &session.Error{Class: session.ClassProtocol, Reason: "body-empty"}
		return nil
	}
	b := &imapBody{lit: lit, truth: j.s.m.Err}
	err := j.each(w, b)
	if b.err != nil && b.err != io.EOF {
		// The line, not the caller, whatever the caller says.
		f.torn = b
		return j.broken(b.err, f, w)
	}
	if err != nil {
		f.torn = b
		j.abandon()
		return callerError{err}
	}
	w.done = true
	j.brought++
	if b.drain(); b.err != io.EOF {
		f.torn = b
		return j.broken(b.err, f, nil)
	}
	return nil
}

// landed deals with the end of a command.
func (j *imapJob) landed(f *imapFlight) error {
	var refused *imap.Error
	plain := errors.As(f.err, &refused)
	if f.err != nil && !plain {
		return j.broken(j.s.m.Err(f.err), f, nil)
	}
	j.flights = slices.DeleteFunc(j.flights, func(o *imapFlight) bool { return o == f })
	rest := f.w.rest()
	if !plain || refused.Code == "EXPUNGEISSUED" { // RFC 5530 §3: gone, as far as this session knows
		j.missing(rest)
		return nil
	}
	var e *session.Error
	errors.As(j.s.m.Err(f.err), &e)
	if e.Reach >= session.ReachAccount || e.Class == session.ClassQuota {
		e.Reach = session.ReachAccount
		j.abandon()
		return e
	}
	if f.early {
		// QUIRK(conceivable): as in a listing, the FETCH is judged too early.
		j.s.ahead.never = true
		j.queue = append([]*imapWindow{{want: rest}}, j.queue...)
		return nil
	}
	if len(rest) == 1 {
		rest[0].why = e
		j.missing(rest)
		return nil
	}
	j.halve(rest)
	return nil
}

// missing takes note of messages that a command ended without.
func (j *imapJob) missing(rest []*imapWant) {
	again := &imapWindow{}
	for _, w := range rest {
		if w.tries++; w.tries < 2 {
			again.want = append(again.want, w)
		} else {
			w.done = true
			j.absent = append(j.absent, w)
		}
	}
	if len(again.want) > 0 {
		j.queue = append(j.queue, again)
	}
}

func (j *imapJob) halve(rest []*imapWant) {
	if len(rest) == 0 {
		return
	}
	half := (len(rest) + 1) / 2
	j.aside = append(j.aside, &imapWindow{want: rest[:half]})
	if half < len(rest) {
		j.aside = append(j.aside, &imapWindow{want: rest[half:]})
	}
}

// broken ends the session, of which f was the command and w, if it is known, the
// message that were being answered, and arranges for the culprit to be found.
func (j *imapJob) broken(err error, f *imapFlight, w *imapWant) error {
	flights := j.flights
	j.abandon()
	var e *session.Error
	if j.ctx.Err() != nil || !errors.As(err, &e) {
		return err
	}
	for i := len(flights) - 1; i >= 0; i-- {
		if o := flights[i]; o != f {
			j.queue = append([]*imapWindow{{want: o.w.rest()}}, j.queue...)
		}
	}
	rest := f.w.rest()
	if w == nil && len(rest) > 0 {
		w = rest[0] // servers answer in order, mostly
	}
	switch {
	case w == nil:
	case len(f.w.want) == 1:
		// It was alone. Once is enough if the answer is what breaks; a line may
		// break at any time.
		if w.tries++; e.Class == session.ClassProtocol || w.tries >= 2 {
			j.fail(w, e)
		} else {
			w.why = e
			j.aside = append(j.aside, &imapWindow{want: []*imapWant{w}})
		}
	default:
		j.aside = append(j.aside, &imapWindow{want: []*imapWant{w}})
		j.halve(slices.DeleteFunc(rest, func(o *imapWant) bool { return o == w }))
	}
	return err
}

// lookAgain decides about the messages that were asked for twice in vain: those
// that are still listed fail, the others are gone.
func (j *imapJob) lookAgain() error {
	if len(j.absent) == 0 || j.heads {
		return nil
	}
	if err := j.s.back(j.ctx, j.m, j.state.UIDValidity); err != nil {
		return err
	}
	// NOOP lets the server say what was expunged meanwhile (RFC 3501 §6.1.2).
	if err := j.s.m.Client.Noop().Wait(); err != nil {
		if err := j.plain(err); err != nil {
			return err
		}
	}
	slices.SortFunc(j.absent, func(a, b *imapWant) int { return cmp.Compare(a.uid, b.uid) })
	var uids []imap.UID
	for _, w := range j.absent {
		uids = append(uids, w.uid)
	}
	listed := make(map[imap.UID]bool)
	for _, set := range uidSets(slices.Compact(uids)) {
		cmd := j.s.m.Client.Fetch(set, &imap.FetchOptions{UID: true, Flags: true})
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			for item := msg.Next(); item != nil; item = msg.Next() {
				if item, ok := item.(imapclient.FetchItemDataUID); ok {
					listed[item.UID] = true
				}
			}
		}
		if err := cmd.Close(); err != nil {
			var refused *imap.Error
			if errors.As(err, &refused) && refused.Code != "EXPUNGEISSUED" {
				for _, w := range j.absent {
					if set.Contains(w.uid) {
						listed[w.uid] = true // not said to be gone
					}
				}
			}
			if err := j.plain(err); err != nil {
				return err
			}
		}
	}
	for _, w := range j.absent {
		if !listed[w.uid] {
			j.fails = append(j.fails, Failure{Listed: w.l, Gone: true,
				Err: &session.Error{Class: session.ClassMissing, Reach: session.ReachMessage, Reason: "gone"}})
			continue
		}
		if w.why == nil {
			w.why = &session.Error{Class: session.ClassProtocol, Reason: "body-missing"}
		}
		j.fail(w, w.why)
	}
	j.absent = nil
	return nil
}

// plain returns nil for a NO or BAD of message or mailbox reach, else the truth.
func (j *imapJob) plain(err error) error {
	err = j.s.err(j.ctx, err)
	var e *session.Error
	if errors.As(err, &e) && e.Reach < session.ReachAccount {
		return nil
	}
	return err
}
