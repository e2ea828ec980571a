package fetch

import (
	"context"
	"slices"

	"github.com/emersion/go-imap/v2"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

const (
	imapBoxesAhead  = 16      // mailboxes asked for ahead of their turn
	imapListAhead   = 4000    // messages in them, for lists
	imapOctetsAhead = 1 << 20 // octets in them, for bodies: what a wrong guess may cost
)

// A walk is what the Source is called for, mailbox by mailbox.
type walk int

const (
	walkChanges walk = iota
	walkList
	walkPart  // Fetch of some of the messages listed, or Heads
	walkFetch // Fetch of all messages listed
)

// imapAhead sends commands before the call for which they are meant: EXAMINE and
// FETCH in one flight, and while the mailboxes are gone through in their order,
// those of the next ones too. On a slow line that, and not the octets, is what a
// pull of many small mailboxes waits for.
//
// It is a guess and nothing else. The session hands on an answer only to the
// command it was meant for, when that is given in earnest; a wrong guess costs the
// octets of the answer.
type imapAhead struct {
	boxes  []imapBox
	index  map[string]int // Mailbox.Name -> index in boxes
	walk   walk
	last   int   // index of the mailbox that was called for last
	streak int   // calls in a row, each for the mailbox after the one before
	sent   []int // indices of the mailboxes asked for ahead of their turn
	never  bool  // this server does not take it well
}

// imapBox is a mailbox and what its list said.
type imapBox struct {
	m     Mailbox
	skip  bool        // it cannot be opened
	uids  imap.UIDSet // of the messages listed; nil: not known, or too many to be of interest
	count int
	size  int64
}

// know takes note of the account's mailboxes.
func (a *imapAhead) know(boxes []Mailbox, names map[string]string) {
	*a = imapAhead{never: a.never, index: make(map[string]int, len(boxes)), last: -1}
	for i, b := range boxes {
		_, _, sendable := session.MailboxName(names[b.Name])
		a.boxes = append(a.boxes, imapBox{m: b, skip: !b.Selectable || !sendable})
		a.index[b.Name] = i
	}
}

// box returns what is known of m, nil if it was not in the list of mailboxes.
func (a *imapAhead) box(m Mailbox) *imapBox {
	if i, ok := a.index[m.Name]; ok {
		return &a.boxes[i]
	}
	return nil
}

// next returns the index of the mailbox that will be called for after i, or
// len(a.boxes).
func (a *imapAhead) next(w walk, i int) int {
	for i++; i < len(a.boxes); i++ {
		if b := &a.boxes[i]; !b.skip && (w == walkList || b.count > 0) {
			break
		}
	}
	return i
}

// forget gives up what was sent ahead.
func (s *imapSource) forget() {
	s.m.Forget()
	if len(s.ahead.sent) > 0 {
		s.examined = "" // another one is open by now
	}
	s.ahead.sent = nil
}

// begin starts a call for m. Unless it was done ahead, it sends EXAMINE and fetch,
// to be asked for next. fetch is nil if there is nothing to be fetched.
func (s *imapSource) begin(w walk, m Mailbox, fetch *session.Ahead) {
	a := &s.ahead
	i, known := a.index[m.Name]
	if !known || w == walkChanges || w == walkPart {
		i, a.streak = -1, 0
	} else if w == a.walk && a.next(w, a.last) == i {
		a.streak++
	} else {
		a.streak = 1
	}
	sent := slices.Index(a.sent, i)
	hit := w == a.walk && sent >= 0
	a.walk, a.last = w, i
	if hit {
		a.sent = a.sent[sent+1:]
		return
	}
	s.forget()
	if s.isOpen(m) && (w == walkFetch || w == walkPart) {
		return
	}
	// A mailbox without a STATUS may well refuse the EXAMINE, and some servers
	// count the errors that a FETCH without a mailbox makes.
	if a.never || m.Status == nil {
		return
	}
	s.send(m, fetch)
}

func (s *imapSource) send(m Mailbox, fetch *session.Ahead) {
	commands := []session.Ahead{session.ExamineAhead(s.libraryName(m), s.m.Has(imap.CapCondStore))}
	if fetch != nil {
		commands = append(commands, *fetch)
	}
	s.examined = ""
	s.m.SendAhead(commands...)
}

// topUp sends the commands for the mailboxes after the present one, if the calls
// go from one to the next. The commands of the present one have been given.
func (s *imapSource) topUp() {
	a := &s.ahead
	if a.never || a.streak < 2 {
		return
	}
	depth := min(1<<min(a.streak-1, 8), imapBoxesAhead)
	messages, ranges, octets := 0, 0, int64(0)
	at := a.last
	for _, i := range a.sent {
		b := &a.boxes[i]
		messages, ranges, octets, at = messages+a.messages(i), ranges+len(b.uids), octets+b.size, i
	}
	for at = a.next(a.walk, at); at < len(a.boxes) && len(a.sent) < depth; at = a.next(a.walk, at) {
		b := &a.boxes[at]
		if b.m.Status == nil {
			return
		}
		messages, ranges, octets = messages+a.messages(at), ranges+len(b.uids), octets+b.size
		var fetch *session.Ahead
		switch a.walk {
		case walkList:
			if messages > imapListAhead {
				return
			}
			fetch = listAhead(b.m)
		case walkFetch:
			// The commands must fit into what the system buffers: nobody reads answers
			// while they are written.
			if b.uids == nil || octets > imapOctetsAhead || ranges*uidRangeLength > uidSetLength {
				return
			}
			f := session.FetchAhead(b.uids, bodyOptions(false))
			fetch = &f
		}
		s.send(b.m, fetch)
		a.sent = append(a.sent, at)
	}
}

func (a *imapAhead) messages(i int) int {
	if st := a.boxes[i].m.Status; st != nil {
		return int(st.Messages)
	}
	return 0
}

// listAhead is the FETCH of a List of m, nil if there is nothing to list.
func listAhead(m Mailbox) *session.Ahead {
	if m.Status != nil && m.Status.Messages == 0 {
		return nil
	}
	f := session.FetchAhead(everyUID(), listOptions())
	return &f
}

// isOpen reports whether m will be open when all was executed that was sent.
func (s *imapSource) isOpen(m Mailbox) bool {
	return s.examined != "" && s.examined == s.libraryName(m)
}

// back makes sure that m is open, which was when its UIDVALIDITY was validity:
// what was sent ahead may have opened others since.
func (s *imapSource) back(ctx context.Context, m Mailbox, validity uint32) error {
	if s.isOpen(m) {
		return nil
	}
	s.ahead.streak = 0
	s.forget()
	st, err := s.examine(ctx, m)
	if err == nil && st.UIDValidity != validity {
		err = &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Temporary: true, Reason: "uidvalidity-changing"}
	}
	return err
}
