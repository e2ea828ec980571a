package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// POP3Options tune a POP3 Source; the zero value is good.
type POP3Options struct {
	// Pause is waited before a lost session is opened again when the one before
	// brought nothing, and doubles each time. 0: 2 s.
	Pause time.Duration
}

// maxHeader bounds the header that Heads keeps in memory. Octets.
const maxHeader = 1 << 20

// pop3Source is a Source over one POP3 account. A maildrop is locked by its
// session, so there is one session at a time; when it is lost, another takes its
// place and the messages are found again by their unique-ids. It deletes
// nothing: no DELE is ever sent.
type pop3Source struct {
	base   context.Context // the account's: every session ends with it
	server session.Server
	pause  time.Duration

	sess     *session.POP3 // nil: none is open
	release  context.CancelFunc
	loggedIn bool      // a login succeeded with this secret
	drop     *maildrop // what sess lists; nil: not asked yet
	shown    *maildrop // what List last told

	facts  Facts
	failed bool // an operation failed or was cancelled: no QUIT
}

// OpenPOP3 logs in to a POP3 account. The Source lives as long as ctx: when it
// ends, the line is cut without QUIT.
func OpenPOP3(ctx context.Context, server session.Server, o POP3Options) (Source, error) {
	if o.Pause <= 0 {
		o.Pause = 2 * time.Second
	}
	s := &pop3Source{base: ctx, server: server, pause: o.Pause}
	s.facts = Facts{Protocol: "pop3", ExpireDays: -1}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// connect opens a session if none is open. The session ends with the account's
// context, not with ctx, which governs its opening only.
func (s *pop3Source) connect(ctx context.Context) error {
	if s.sess != nil {
		return nil
	}
	life, release := context.WithCancel(s.base)
	stop := context.AfterFunc(ctx, release)
	sess, err := session.DialPOP3(life, s.server)
	stop()
	if err != nil {
		release()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.mildRefusal(err)
	}
	s.sess, s.release, s.drop, s.loggedIn = sess, release, nil, true
	s.facts.ExpireDays = sess.Expire()
	s.facts.ExpiresOnRetr = s.facts.ExpireDays == 0
	if offered, known := sess.Offers("UIDL"); known && !offered {
		s.facts.NoUniqueID = true
	}
	return nil
}

// mildRefusal reads a refused login anew after one that succeeded: the secret
// was right a moment ago, so the maildrop is still locked by the session that
// was lost.
func (s *pop3Source) mildRefusal(err error) error {
	var e *session.Error
	if !s.loggedIn || !errors.As(err, &e) || e.Class != session.ClassAuth || e.Reason != "refused-or-busy" {
		return err
	}
	mild := *e
	mild.Class, mild.Temporary, mild.Reason = session.ClassBusy, true, "refused-after-login"
	return &mild
}

// cut ends the session without QUIT.
func (s *pop3Source) cut() {
	if s.sess != nil {
		s.sess.Drop()
		s.release()
		s.sess, s.drop = nil, nil
	}
}

// listing returns what the session lists, asking once: a maildrop does not
// change while it is locked (RFC 1939 §4). Without a session it opens one.
func (s *pop3Source) listing(ctx context.Context) (*maildrop, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if s.drop == nil {
		d, err := readMaildrop(ctx, s.sess)
		if err != nil {
			s.cut()
			return nil, err
		}
		s.drop = d
		if d.err == nil {
			s.facts.NoUniqueID = !d.uidl || len(d.list) > 0 && d.unnamed == len(d.list)
		}
	}
	return s.drop, nil
}

// Mailboxes returns the maildrop as INBOX.
func (s *pop3Source) Mailboxes(ctx context.Context) ([]Mailbox, error) {
	d, err := s.listing(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	// A list that is not complete is List's to report; the number of messages is
	// known all the same.
	return []Mailbox{{Name: "INBOX", Selectable: true, Status: &State{Messages: d.count}}}, nil
}

// List tells what LIST and UIDL say. A list that does not name as many messages
// as STAT counted is an *session.Error "list-incomplete", and nothing is told.
func (s *pop3Source) List(ctx context.Context, m Mailbox, fn func(Listed) error) (State, error) {
	if err := s.known(m); err != nil {
		return State{}, err
	}
	d, err := s.listing(ctx)
	if err == nil {
		err = d.err
	}
	if err != nil {
		return State{}, s.fail(err)
	}
	s.shown = d
	for _, l := range d.list {
		if err := fn(l); err != nil {
			return State{}, s.fail(err)
		}
	}
	return State{Messages: d.count}, nil
}

// Changes calls fn never: POP3 has no flags.
func (s *pop3Source) Changes(ctx context.Context, m Mailbox, last State, fn func(Listed) error) (State, error) {
	if err := s.known(m); err != nil {
		return State{}, err
	}
	d, err := s.listing(ctx)
	if err != nil {
		return State{}, s.fail(err)
	}
	return State{Messages: d.count}, nil
}

// Fetch retrieves messages by RETR.
func (s *pop3Source) Fetch(ctx context.Context, m Mailbox, state State, want []Listed, fn func(Listed, io.Reader) error) ([]Failure, error) {
	if err := s.known(m); err != nil {
		return nil, err
	}
	t := &transfer{s: s, send: (*session.POP3).Retr, fn: fn}
	err := t.run(ctx, want)
	if err == nil {
		err = t.lookAgain(ctx)
	}
	if err != nil {
		return t.failures, s.fail(err)
	}
	return t.failures, nil
}

// Heads retrieves headers by TOP. A message that the server refuses is left out,
// and one whose header does not end within maxHeader.
func (s *pop3Source) Heads(ctx context.Context, m Mailbox, state State, want []Listed, fn func(Listed, []byte) error) error {
	if err := s.known(m); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return s.fail(err)
	}
	if offered, known := s.sess.Offers("TOP"); known && !offered {
		return nil
	}
	t := &transfer{s: s, send: (*session.POP3).Top, fn: func(l Listed, r io.Reader) error {
		head, err := io.ReadAll(io.LimitReader(r, maxHeader))
		if err != nil {
			return err
		}
		if head, ok := untilEmptyLine(head); ok {
			return fn(l, head)
		}
		return nil
	}}
	if err := t.run(ctx, want); err != nil {
		return s.fail(err)
	}
	return nil
}

// untilEmptyLine cuts b behind its first empty line, for not every server takes
// the 0 of TOP at its word; false if there is none.
func untilEmptyLine(b []byte) ([]byte, bool) {
	for at := 0; at < len(b); {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			break
		}
		line := b[at : at+n]
		at += n + 1
		if len(bytes.TrimRight(line, "\r")) == 0 {
			return b[:at], true
		}
	}
	return nil, false
}

func (s *pop3Source) Facts() Facts { return s.facts }

// Close sends QUIT if nothing has failed, and otherwise cuts the line.
func (s *pop3Source) Close() error {
	if s.sess == nil {
		return nil
	}
	if s.failed || s.base.Err() != nil {
		s.cut()
		return nil
	}
	err := s.sess.Quit(s.base)
	s.cut()
	return err
}

// Drop cuts the line.
func (s *pop3Source) Drop() {
	s.failed = true
	s.cut()
}

// fail takes note that an operation ended in err: the line is cut at once, so
// that what comes next begins in a session of its own.
func (s *pop3Source) fail(err error) error {
	s.failed = true
	s.cut()
	return err
}

func (s *pop3Source) known(m Mailbox) error {
	if m.Name == "INBOX" {
		return nil
	}
	return &session.Error{Class: session.ClassMissing, Reach: session.ReachMailbox, Reason: "no-such-mailbox"}
}
