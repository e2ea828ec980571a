// Package demo is a mail provider in a box: a POP3 and an IMAP server in this
// process, on loopback, with made-up mail, for `fumibako demo`.
//
// It is what the demonstration talks to, not the demonstration: that is the
// program itself, doing its main job. The servers are those of the tests,
// which keep octets as they are; the letters are chosen to hold what archives
// stumble over (see Letters).
package demo

import (
	"errors"
	"fmt"
	"net"

	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
)

// The accounts of the made-up person. The password is no secret.
const (
	IMAPUser = officeAddress
	POP3User = shopAddress
	Password = "fumibako"
)

// Servers are the two running servers. Close ends them.
type Servers struct {
	IMAP, POP3 *net.TCPAddr // where they listen

	imap *fetchtest.IMAP
	pop  *fetchtest.POP3
}

// Start fills and starts the servers on free loopback ports.
func Start() (*Servers, error) {
	imap, pop := Letters()
	s := &Servers{imap: fetchtest.NewIMAP(IMAPUser, Password), pop: fetchtest.NewPOP3(POP3User, Password)}
	s.imap.AddMailbox(sentMailbox, `\Sent`)
	s.imap.AddMailbox(quoteMailbox)
	for _, l := range imap {
		s.imap.Add(l.Mailbox, l.Octets, l.Date, l.Flags...)
	}
	for _, l := range pop {
		s.pop.Add(l.Octets, l.UIDL)
	}
	var err error
	if s.IMAP, err = s.imap.Listen(); err != nil {
		return nil, err
	}
	if s.POP3, err = s.pop.Listen(); err != nil {
		return nil, errors.Join(err, s.imap.Close())
	}
	return s, nil
}

// MoveMaildrop does what a provider's move to new machines does: every
// unique-id of the maildrop is another one, and the mail is the same.
func (s *Servers) MoveMaildrop() {
	s.pop.SetUIDL(func(i int, _ []byte) string { return fmt.Sprintf("moved-%d", i+1) })
}

// Close ends both servers.
func (s *Servers) Close() error { return errors.Join(s.imap.Close(), s.pop.Close()) }
