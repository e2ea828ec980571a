package fetch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// IMAPOptions bounds what an IMAP Source asks for with one command. The zero
// value means the defaults.
type IMAPOptions struct {
	FetchOctets int64 // octets of bodies; 0: 16 MiB
	FetchCount  int   // messages; 0: 500
}

const (
	imapFetchOctets = 16 << 20
	imapFetchCount  = 500
	imapMailboxes   = 100_000 // a list of more is not believed
	imapStatusAhead = 64      // STATUS commands in flight
)

// imapPauses are the waits before the next attempt to connect, by the number of
// connections in a row that brought no message.
var imapPauses = []time.Duration{0, time.Second, 4 * time.Second}

// OpenIMAP logs in and returns the account as a Source. It examines mailboxes
// and never selects them, and peeks at bodies, so it leaves no trace on the
// server. If the line breaks in the midst of Fetch or Heads, it connects again
// and goes on behind what was read, asking srv.Secret again; a message that
// breaks the session each time is named in the failures, and the others go on.
func OpenIMAP(ctx context.Context, srv session.Server, o IMAPOptions) (Source, error) {
	if o.FetchOctets <= 0 {
		o.FetchOctets = imapFetchOctets
	}
	if o.FetchCount <= 0 {
		o.FetchCount = imapFetchCount
	}
	s := &imapSource{
		server: srv,
		o:      o,
		pauses: imapPauses,
		names:  make(map[string]string),
		flags:  make(map[string][]string),
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// imapSource is a Source over one IMAP session at a time.
type imapSource struct {
	server session.Server
	o      IMAPOptions
	pauses []time.Duration

	m        *session.IMAP // nil: the line broke, and the next operation connects again
	end      func()        // ends m's context
	examined string        // the library's name of the examined mailbox; "": none
	state    State         // of the examined mailbox
	failed   bool          // an operation failed or was cancelled: no LOGOUT
	closed   bool
	text     string // ServerText of sessions that are gone

	names map[string]string   // Mailbox.Name -> the library's name
	flags map[string][]string // interned lists of flags, by their joined spelling
	key   []byte
	ahead imapAhead
}

// connect opens a session that outlives ctx, but not if ctx ends meanwhile.
func (s *imapSource) connect(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	m, err := session.DialIMAP(life, s.server)
	if err != nil {
		stop()
		end()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if !stop() {
		m.Drop()
		return ctx.Err()
	}
	switch {
	case m.Has("X-GM-EXT-1"):
		m.AskAlso("X-GM-MSGID")
	case m.Has(imap.CapObjectID):
		m.AskAlso("EMAILID")
	}
	s.m, s.end, s.examined, s.failed = m, end, "", false
	return nil
}

// lose forgets the session. Nothing of it may be in flight.
func (s *imapSource) lose() {
	if s.m == nil {
		return
	}
	if text := s.m.ServerText(); text != "" {
		s.text = text
	}
	s.failed = true
	s.m.Drop()
	s.end()
	s.m, s.examined = nil, ""
	s.ahead.sent, s.ahead.streak = nil, 0
}

// use prepares for commands that ctx can interrupt. release must be called after
// them.
func (s *imapSource) use(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		s.failed = true
		return nil, err
	}
	if s.closed {
		return nil, &session.Error{Class: session.ClassLocal, Reach: session.ReachAccount, Reason: "source-closed"}
	}
	if s.m == nil {
		if err := s.connect(ctx); err != nil {
			s.failed = true
			return nil, err
		}
	}
	stop := s.m.Watch(ctx)
	return func() { stop() }, nil
}

// err turns what the library said into the truth, and forgets the session unless
// it was a plain refusal. Nothing may be in flight.
func (s *imapSource) err(ctx context.Context, err error) error {
	if err == nil || s.m == nil {
		return err
	}
	var refused *imap.Error
	plain := errors.As(err, &refused)
	err = s.m.Err(err)
	if !plain {
		s.m.Drop()
		s.m.Wait()
		s.lose()
	}
	if ctx.Err() != nil {
		s.failed = true
		return ctx.Err()
	}
	return err
}

// Mailboxes lists every mailbox of the account.
func (s *imapSource) Mailboxes(ctx context.Context) ([]Mailbox, error) {
	release, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	s.forget()
	items := &imap.StatusOptions{
		NumMessages: true, UIDNext: true, UIDValidity: true,
		HighestModSeq: s.m.Has(imap.CapCondStore),
	}
	var o *imap.ListOptions
	if s.m.Has(imap.CapListExtended) || s.m.Has(imap.CapListStatus) {
		o = &imap.ListOptions{ReturnSpecialUse: s.m.Has(imap.CapSpecialUse)}
		if s.m.Has(imap.CapListStatus) {
			o.ReturnStatus = items
		}
	}
	data, err := s.list(ctx, "*", o)
	var refused *session.Error
	if o != nil && errors.As(err, &refused) && refused.Class == session.ClassRefused {
		// QUIRK(several): LIST-STATUS is offered, and refused for some mailbox.
		o = nil
		data, err = s.list(ctx, "*", nil)
	}
	if err != nil {
		return nil, err
	}
	data = s.withInbox(ctx, data)
	boxes := s.name(data)
	if err := s.statuses(ctx, boxes, items); err != nil {
		return nil, err
	}
	s.ahead.know(boxes, s.names)
	return boxes, nil
}

// list sends LIST and returns its answer.
func (s *imapSource) list(ctx context.Context, pattern string, o *imap.ListOptions) ([]*imap.ListData, error) {
	cmd := s.m.Client.List("", pattern, o)
	var data []*imap.ListData
	for d := cmd.Next(); d != nil; d = cmd.Next() {
		if len(data) >= imapMailboxes {
			s.m.Drop()
			cmd.Close()
			s.m.Wait()
			s.lose()
			return nil, &session.Error{Class: session.ClassProtocol, Reach: session.ReachAccount, Reason: "too-many-mailboxes"}
		}
		data = append(data, d)
	}
	return data, s.err(ctx, cmd.Close())
}

// withInbox adds INBOX, which exists always (RFC 3501 §5.1), if the server did
// not list it.
//
// QUIRK(several): it is left out of LIST "" "*" where mailboxes live below it.
func (s *imapSource) withInbox(ctx context.Context, data []*imap.ListData) []*imap.ListData {
	for _, d := range data {
		if d.Mailbox == "INBOX" {
			return data
		}
	}
	more, err := s.list(ctx, "INBOX", nil)
	if err != nil || s.m == nil {
		return data
	}
	for _, d := range more {
		if d.Mailbox == "INBOX" {
			return append(data, d)
		}
	}
	return data
}

// name turns LIST's answer into Mailboxes, no two of the same name.
func (s *imapSource) name(data []*imap.ListData) []Mailbox {
	clear(s.names)
	var boxes []Mailbox
	seen := make(map[string]bool, len(data))
	var odd []*imap.ListData
	add := func(d *imap.ListData, name string) {
		s.names[name] = d.Mailbox
		boxes = append(boxes, mailbox(d, name))
	}
	for _, d := range data {
		if seen[d.Mailbox] {
			continue // listed twice
		}
		seen[d.Mailbox] = true
		if name, _, _ := session.MailboxName(d.Mailbox); name != d.Mailbox {
			odd = append(odd, d)
			continue
		}
		add(d, d.Mailbox)
	}
	// Names that are spelled in a way of their own come last, whatever the
	// server's order, so that two that read the same are told apart the same way
	// in each run.
	slices.SortFunc(odd, func(a, b *imap.ListData) int { return strings.Compare(a.Mailbox, b.Mailbox) })
	for _, d := range odd {
		name, octets, _ := session.MailboxName(d.Mailbox)
		for _, try := range []string{name, octets, d.Mailbox} {
			if _, taken := s.names[try]; !taken {
				add(d, try)
				break
			}
		}
	}
	return boxes
}

func mailbox(d *imap.ListData, name string) Mailbox {
	b := Mailbox{Name: name, Selectable: true}
	if d.Delim != 0 {
		b.Delimiter = string(d.Delim)
	}
	for _, a := range d.Attrs {
		switch a {
		case imap.MailboxAttrNoSelect, imap.MailboxAttrNonExistent:
			b.Selectable = false
		case imap.MailboxAttrAll, imap.MailboxAttrArchive, imap.MailboxAttrDrafts, imap.MailboxAttrFlagged,
			imap.MailboxAttrJunk, imap.MailboxAttrSent, imap.MailboxAttrTrash, imap.MailboxAttrImportant:
			b.SpecialUse = string(a)
		}
	}
	b.Status = status(d.Status)
	return b
}

// status returns a STATUS answer as a State, nil if it lacks what identifies one.
func status(d *imap.StatusData) *State {
	if d == nil || d.NumMessages == nil || d.UIDValidity == 0 {
		return nil
	}
	return &State{
		UIDValidity:   d.UIDValidity,
		UIDNext:       uint32(d.UIDNext),
		Messages:      *d.NumMessages,
		HighestModSeq: d.HighestModSeq,
	}
}

// statuses asks for the STATUS of the mailboxes that can be opened and have none
// yet, a few commands ahead of the answers. After LIST-STATUS that is none of
// them, but where the server sends all LIST responses before the first STATUS: of
// those the library keeps the last only.
func (s *imapSource) statuses(ctx context.Context, boxes []Mailbox, items *imap.StatusOptions) error {
	type asked struct {
		box *Mailbox
		cmd interface {
			Wait() (*imap.StatusData, error)
		}
	}
	var ahead []asked
	settle := func() error {
		a := ahead[0]
		ahead = ahead[1:]
		d, err := a.cmd.Wait()
		var refused *imap.Error
		if errors.As(err, &refused) {
			return nil // List will tell what is wrong with it
		}
		if err != nil {
			return s.err(ctx, err)
		}
		a.box.Status = status(d)
		return nil
	}
	for i := range boxes {
		b := &boxes[i]
		if _, _, sendable := session.MailboxName(s.names[b.Name]); !b.Selectable || !sendable || b.Status != nil {
			continue
		}
		if len(ahead) == imapStatusAhead {
			if err := settle(); err != nil {
				return err
			}
		}
		ahead = append(ahead, asked{b, s.m.Client.Status(s.names[b.Name], items)})
	}
	for len(ahead) > 0 {
		if err := settle(); err != nil {
			return err
		}
	}
	return nil
}

// libraryName returns the name by which the library knows m.
func (s *imapSource) libraryName(m Mailbox) string {
	if name, ok := s.names[m.Name]; ok {
		return name
	}
	return m.Name
}

// examine opens m for reading and returns its state.
func (s *imapSource) examine(ctx context.Context, m Mailbox) (State, error) {
	name := s.libraryName(m)
	if _, _, sendable := session.MailboxName(name); !sendable {
		return State{}, &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Reason: "mailbox-name-unsendable"}
	}
	s.examined = ""
	o := &imap.SelectOptions{ReadOnly: true, CondStore: s.m.Has(imap.CapCondStore)}
	d, err := s.m.Client.Select(name, o).Wait()
	if err != nil {
		return State{}, s.err(ctx, err)
	}
	st := State{
		UIDValidity:   d.UIDValidity,
		UIDNext:       uint32(d.UIDNext),
		Messages:      d.NumMessages,
		HighestModSeq: d.HighestModSeq,
	}
	if st.UIDValidity == 0 {
		// QUIRK(several): EXAMINE says no UIDVALIDITY, or one that is no number.
		again, err := s.m.Client.Status(name, &imap.StatusOptions{UIDValidity: true, UIDNext: true}).Wait()
		var refused *imap.Error
		if err != nil && !errors.As(err, &refused) {
			return State{}, s.err(ctx, err)
		}
		st.UIDValidity = again.UIDValidity
		if st.UIDNext == 0 {
			st.UIDNext = uint32(again.UIDNext)
		}
		if len(s.ahead.sent) > 0 {
			// The STATUS was not what had been sent ahead, and another mailbox is open.
			s.ahead.sent = nil
			if _, err := s.m.Client.Select(name, o).Wait(); err != nil {
				return State{}, s.err(ctx, err)
			}
		}
	}
	if st.UIDValidity == 0 {
		return State{}, &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Reason: "uidvalidity-missing"}
	}
	if s.state = st; len(s.ahead.sent) == 0 {
		s.examined = name
	}
	return st, nil
}

// reexamine makes sure that m is open, with the UIDVALIDITY of state.
func (s *imapSource) reexamine(ctx context.Context, m Mailbox, state State) error {
	if !s.isOpen(m) {
		if _, err := s.examine(ctx, m); err != nil {
			return err
		}
	}
	if s.state.UIDValidity != state.UIDValidity {
		return ErrChanged
	}
	return nil
}

// intern returns flags as strings that are shared between messages.
func (s *imapSource) intern(flags []imap.Flag) []string {
	if len(flags) == 0 {
		return nil
	}
	s.key = s.key[:0]
	for _, f := range flags {
		s.key = append(append(s.key, f...), ' ')
	}
	if l, ok := s.flags[string(s.key)]; ok {
		return l
	}
	l := make([]string, len(flags))
	for i, f := range flags {
		l[i] = session.FlagName(f)
	}
	if len(s.flags) < 1<<16 { // a server may have a list of its own for each message
		s.flags[string(s.key)] = l
	}
	return l
}

// Facts tells what is known about the server.
func (s *imapSource) Facts() Facts {
	text := s.text
	if s.m != nil {
		if now := s.m.ServerText(); now != "" {
			text = now
		}
	}
	return Facts{Protocol: "imap", KeepsFlags: true, ExpireDays: -1, ServerText: text}
}

// Drop cuts the line.
func (s *imapSource) Drop() {
	s.failed = true
	s.Close()
}

// Close logs out, or cuts the line if an operation failed or was cancelled.
func (s *imapSource) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if s.m == nil {
		return nil
	}
	if s.failed {
		s.lose()
		return nil
	}
	err := s.m.Close()
	s.end()
	s.m = nil
	return err
}
