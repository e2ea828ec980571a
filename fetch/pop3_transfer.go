package fetch

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

const (
	fruitlessPasses = 3 // passes in a row without a message, after which the account ends
	messageStrikes  = 3 // times the line broke at one message, after which it is named
)

// waiting is one message that was asked for and has not ended yet.
type waiting struct {
	Listed
	num     uint32 // in the present session
	strikes int    // how often the line broke when it was its turn
}

// transfer brings messages over as many sessions as it takes. Each message ends
// once: with fn returning nil, or as a failure.
type transfer struct {
	s    *pop3Source
	send func(*session.POP3, context.Context, []session.POP3Message, func(int, io.Reader, *session.Error) error) error
	fn   func(Listed, io.Reader) error

	queue    []waiting
	failures []Failure
}

func (t *transfer) run(ctx context.Context, want []Listed) error {
	t.queue = make([]waiting, len(want))
	for i, l := range want {
		t.queue[i] = waiting{Listed: l}
	}
	for fruitless := 0; len(t.queue) > 0; {
		ended, err := t.pass(ctx)
		if err == nil {
			continue // the queue is empty now
		}
		var broken *brokenLine
		if !errors.As(err, &broken) {
			return err
		}
		t.s.cut()
		fruitless++
		if ended > 0 {
			fruitless = 0
		}
		if broken.transferring {
			t.strike(broken.cause)
		}
		if len(t.queue) == 0 {
			return nil
		}
		if fruitless >= fruitlessPasses {
			return broken.cause
		}
		if fruitless > 0 {
			if err := wait(ctx, t.s.pause<<(fruitless-1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// brokenLine is a failure after which another session may do better.
type brokenLine struct {
	cause        *session.Error
	transferring bool // it was a message's turn
}

func (b *brokenLine) Error() string { return b.cause.Error() }

// pass asks for everything in the queue in one session, and takes off the queue
// what ended. An error is a *brokenLine or final.
func (t *transfer) pass(ctx context.Context) (ended int, err error) {
	d, err := t.s.listing(ctx)
	if err == nil {
		err = d.err
	}
	if shown := t.s.shown; err == nil && shown != nil && shown.uidl && !d.uidl {
		err = &session.Error{Class: session.ClassProtocol, Reach: session.ReachAccount, Temporary: true, Reason: "uidl-refused"}
	}
	if err != nil {
		return 0, t.maybeBroken(ctx, err, false)
	}
	found, lost := d.locate(t.s.shown, t.queue)
	t.queue = found
	t.failures = append(t.failures, lost...)
	msgs := make([]session.POP3Message, len(found))
	for i, w := range found {
		msgs[i] = session.POP3Message{Num: w.num, Size: w.Size}
	}
	var own error
	err = t.send(t.s.sess, ctx, msgs, func(i int, body io.Reader, refused *session.Error) error {
		if refused != nil {
			t.failures = append(t.failures, Failure{Listed: found[i].Listed, Err: refused})
			ended = i + 1
			return nil
		}
		r := &failingReader{r: body}
		if err := t.fn(found[i].Listed, r); err != nil {
			if r.err == nil {
				own = err
			}
			return err
		}
		ended = i + 1
		return nil
	})
	t.queue = found[ended:]
	switch {
	case err == nil:
		return ended, nil
	case own != nil:
		t.s.cut()
		return ended, own
	}
	return ended, t.maybeBroken(ctx, err, true)
}

// failingReader remembers whether the source failed under fn.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// maybeBroken decides whether err leaves hope for another session.
func (t *transfer) maybeBroken(ctx context.Context, err error, transferring bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *session.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case transferring, e.Class == session.ClassNetwork, e.Temporary && e.Reason != "refused-after-login":
		return &brokenLine{cause: e, transferring: transferring && len(t.queue) > 0}
	}
	return e
}

// strike counts against the message whose turn it was. It waits behind the
// others then, so that one message which kills sessions does not keep them back,
// and is named when it does so again and again.
func (t *transfer) strike(cause *session.Error) {
	w := t.queue[0]
	t.queue = t.queue[1:]
	w.strikes++
	if w.strikes >= messageStrikes || cause.Reason == "message-too-long" {
		named := *cause
		named.Reach = session.ReachMessage
		t.failures = append(t.failures, Failure{Listed: w.Listed, Err: &named})
		return
	}
	t.queue = append(t.queue, w)
}

// lookAgain asks a fresh session which of the refused messages are still there:
// within a session the list does not change, whatever happened to the message.
// That the look fails changes nothing; only ctx's end is an error.
func (t *transfer) lookAgain(ctx context.Context) error {
	var refused []waiting
	at := map[uniqueID]int{}
	for i, f := range t.failures {
		if !f.Gone && f.Listed.UID != "" && f.Err.Reason != "identity-lost" {
			at[uniqueID{f.Listed.UID, f.Listed.Ordinal}] = i
			refused = append(refused, waiting{Listed: f.Listed})
		}
	}
	if len(refused) == 0 {
		return nil
	}
	t.s.cut() // no QUIT: what was retrieved is not recorded yet
	d, err := t.s.listing(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || d.err != nil || !d.uidl {
		return nil
	}
	_, lost := d.locate(t.s.shown, refused)
	for _, f := range lost {
		if f.Gone {
			t.failures[at[uniqueID{f.Listed.UID, f.Listed.Ordinal}]].Gone = true
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
