package fetch

import (
	"io"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// imapFlight is a FETCH command whose answers are being read.
//
// The library hands out messages per command, and reads nothing until their
// bodies are read. A server may answer the second command first, so each command
// has a goroutine that waits for its messages; the job takes them from all, one
// at a time.
type imapFlight struct {
	w    *imapWindow
	cmd  *imapclient.FetchCommand
	next chan struct{} // the message was dealt with
	quit chan struct{}
	over chan struct{} // closed when the goroutine has ended
	err  error         // how the command ended; set before its last event
	torn *imapBody     // the body in which the session ended; set before quit
	m    *session.IMAP

	early bool // it was sent ahead
}

// imapEvent is a message, or the end of a command if msg is nil.
type imapEvent struct {
	f   *imapFlight
	msg *imapclient.FetchMessageData
}

// bodyOptions asks for bodies, or for their headers.
func bodyOptions(heads bool) *imap.FetchOptions {
	section := &imap.FetchItemBodySection{Peek: true}
	if heads {
		section.Specifier = imap.PartSpecifierHeader
	}
	return &imap.FetchOptions{UID: true, InternalDate: !heads, BodySection: []*imap.FetchItemBodySection{section}}
}

// fly sends the FETCH for a window.
func (j *imapJob) fly(w *imapWindow) *imapFlight {
	f := &imapFlight{
		w:    w,
		m:    j.s.m,
		next: make(chan struct{}, 1),
		quit: make(chan struct{}),
		over: make(chan struct{}),

		early: j.s.m.Next(session.FetchAhead(w.uids(), bodyOptions(j.heads))),
		cmd:   j.s.m.Client.Fetch(w.uids(), bodyOptions(j.heads)),
	}
	go f.pump(j.events)
	return f
}

func (f *imapFlight) pump(events chan<- imapEvent) {
	defer close(f.over)
	for msg := f.cmd.Next(); msg != nil; msg = f.cmd.Next() {
		select {
		case events <- imapEvent{f, msg}:
		case <-f.quit:
			f.drain()
			return
		}
		select {
		case <-f.next:
		case <-f.quit:
			f.drain()
			return
		}
		select {
		case <-f.quit:
			f.drain()
			return
		default:
		}
	}
	f.err = f.cmd.Close()
	select {
	case events <- imapEvent{f, nil}:
	case <-f.quit:
	}
}

// drain lets the library come to its end after the session was dropped.
func (f *imapFlight) drain() {
	if f.torn != nil && f.torn.err != io.EOF {
		// The library's reader is still using the buffer from which the rest of the
		// literal would be drained; it ends by itself, because it cannot go on
		// behind a literal that failed.
		f.m.Wait()
	}
	f.cmd.Close()
}

// abandon ends the session with all that is in flight.
func (j *imapJob) abandon() {
	j.s.m.Drop()
	for _, f := range j.flights {
		if f.torn != nil {
			f.torn.drain()
		}
	}
	for _, f := range j.flights {
		close(f.quit)
	}
	for _, f := range j.flights {
		<-f.over
	}
	j.flights = nil
	j.s.m.Wait()
	j.s.lose()
}

// imapBody reads a body. It ends with io.EOF only when all octets that the
// server announced have been read.
type imapBody struct {
	lit   imap.LiteralReader
	truth func(error) error // tells what an error of the library means
	n     int64
	err   error
}

func (b *imapBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.lit.Read(p)
	b.n += int64(n)
	switch {
	case err == nil:
	case err != io.EOF:
		b.err = b.truth(err)
	case b.n != b.lit.Size():
		b.err = &session.Error{Class: session.ClassNetwork, Reach: session.ReachMessage, Temporary: true, Reason: "literal-short", Err: io.ErrUnexpectedEOF}
	default:
		b.err = io.EOF
	}
	if b.err != nil && n > 0 {
		return n, nil
	}
	return n, b.err
}

// drain reads the rest and forgets it.
func (b *imapBody) drain() {
	buf := make([]byte, 32<<10)
	for b.err == nil {
		b.Read(buf)
	}
}
