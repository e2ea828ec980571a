package fetchtest

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// A POP3 is a POP3 server with one maildrop, in memory and octet-true: RETR
// answers the octets that were added, with RFC 1939 §3 dot stuffing and nothing
// else. A line ends in CRLF and in nothing less, so a lone CR or LF and a dot
// behind it are ordinary octets. A message whose last line is not ended gets
// one CRLF on the wire (see AsPOP3).
//
// It has CAPA, TOP, UIDL, PIPELINING, RESP-CODES, USER, SASL PLAIN, APOP and
// STLS where asked for, takes the exclusive lock of the maildrop from login to
// the end of the session, and removes deleted messages only at QUIT.
type POP3 struct {
	User     string
	Password string
	Token    string // if not empty, AUTH XOAUTH2 is offered and takes it

	Security session.Security // how to listen; "" is cleartext. With STARTTLS no login works before STLS
	Cert     *tls.Certificate // nil: Certificate()

	NoCAPA       bool
	NoTOP        bool
	NoUIDL       bool
	NoPipelining bool
	NoUser       bool   // USER and PASS are refused, and not in CAPA
	NoSASL       bool   // no AUTH
	Expire       string // CAPA's EXPIRE argument: "0", "30", "NEVER"; "": not said (RFC 2449 §6.7)
	LoginDelay   string // CAPA's LOGIN-DELAY argument in seconds; "": not said
	APOP         string // timestamp in the greeting, with its angle brackets; "": no APOP

	// Window, if positive, is how many of the oldest messages a session shows.
	Window int

	// ListSize, if not nil, says what LIST and STAT claim for the i-th message
	// (from 0) of size octets.
	ListSize func(i int, size int64) int64

	// OmitUIDL, if not nil, leaves the i-th message out of the UIDL list.
	OmitUIDL func(i int) bool

	// RefuseRetr, if not nil, may return the words of an -ERR to RETR and TOP of
	// the i-th message.
	RefuseRetr func(i int) string

	// RefuseLogin, if not nil, may return the words of an -ERR to a login.
	RefuseLogin func(user string) string

	// Delay is waited before each answer.
	Delay time.Duration

	peer
	messages  []*letter
	uidl      func(i int, octets []byte) string
	held      bool // by Lock
	locked    bool // by a session
	deletes   int
	retrieved int
	pipelined int
	commands  commandLog
}

// A letter is one message of the maildrop; it is immutable.
type letter struct {
	octets []byte
	uidl   string
}

// NewPOP3 returns a server with an empty maildrop. It listens only after Listen.
func NewPOP3(user, password string) *POP3 {
	return &POP3{User: user, Password: password}
}

// Add puts a message into the maildrop. octets are kept, not copied. uidl is
// its unique-id, sent as it is: blank, too long and equal to others as the test
// needs it. A session that is already logged in does not see it.
func (s *POP3) Add(octets []byte, uidl string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, &letter{octets, uidl})
}

// Remove takes the i-th message (from 0) off the maildrop, as another client
// would between two sessions.
func (s *POP3) Remove(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = slices.Delete(s.messages, i, i+1)
}

// SetUIDL replaces every unique-id from the next login on: the server changed
// its format. nil brings back those that were added.
func (s *POP3) SetUIDL(uidl func(i int, octets []byte) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uidl = uidl
}

// Messages returns the octets of all messages in the maildrop, in order. They
// are not to be changed.
func (s *POP3) Messages() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all [][]byte
	for _, m := range s.messages {
		all = append(all, m.octets)
	}
	return all
}

// Lock takes or releases the maildrop's lock for another client: while it is
// held a login is answered with [IN-USE] (RFC 2449 §8.1.1).
func (s *POP3) Lock(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = on
}

// Deletes returns how many DELE commands were accepted, whether or not a QUIT
// made them final.
func (s *POP3) Deletes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deletes
}

// Retrieved returns how many RETR commands were accepted.
func (s *POP3) Retrieved() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retrieved
}

// Pipelined returns how many commands had arrived before the command ahead of
// them was answered.
func (s *POP3) Pipelined() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pipelined
}

// Commands returns the commands received so far in all sessions, in order of
// arrival, with secrets shown as `***`.
func (s *POP3) Commands() []string { return s.commands.all() }

// Listen starts the server on a free port of 127.0.0.1 and returns its address.
func (s *POP3) Listen() (*net.TCPAddr, error) {
	return s.listen(func(c net.Conn) {
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		go s.serve(c)
	})
}

// Close stops the server and cuts every session. It may be called twice.
func (s *POP3) Close() error { return s.close() }

// Server returns how to log in to this server at addr, which may be that of a
// Proxy in front of it.
func (s *POP3) Server(addr *net.TCPAddr) session.Server {
	return server(addr, s.Security, s.User, session.Secret{Password: s.Password, Token: s.Token})
}

// lockWait is how long a login waits for a session whose line was cut and
// which the server has not noticed yet, as Dovecot waits for a lock file.
const lockWait = 300 * time.Millisecond

// open takes the lock and returns the maildrop as the session will see it to
// its end. It returns false if another session has the lock.
func (s *POP3) open() ([]entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := time.Now().Add(lockWait); s.locked && !s.held && time.Now().Before(end); {
		s.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		s.mu.Lock()
	}
	if s.locked || s.held {
		return nil, false
	}
	s.locked = true
	var drop []entry
	for i, m := range s.messages {
		if s.Window > 0 && i >= s.Window {
			break
		}
		e := entry{letter: m, size: int64(len(m.octets)), uidl: m.uidl}
		if s.ListSize != nil {
			e.size = s.ListSize(i, e.size)
		}
		if s.uidl != nil {
			e.uidl = s.uidl(i, m.octets)
		}
		drop = append(drop, e)
	}
	return drop, true
}

// commit removes what a session deleted and releases the lock.
func (s *POP3) commit(drop []entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = false
	for _, e := range drop {
		if e.deleted {
			s.messages = slices.DeleteFunc(s.messages, func(m *letter) bool { return m == e.letter })
		}
	}
}

func (s *POP3) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

func (s *POP3) capabilities(secured bool) []string {
	if s.Security == session.STARTTLS && !secured {
		return []string{"STLS", "RESP-CODES", "IMPLEMENTATION fumibako-test"}
	}
	caps := []string{"RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION fumibako-test"}
	if !s.NoUser {
		caps = append(caps, "USER")
	}
	if !s.NoSASL {
		if s.Token != "" {
			caps = append(caps, "SASL PLAIN XOAUTH2")
		} else {
			caps = append(caps, "SASL PLAIN")
		}
	}
	if !s.NoTOP {
		caps = append(caps, "TOP")
	}
	if !s.NoUIDL {
		caps = append(caps, "UIDL")
	}
	if !s.NoPipelining {
		caps = append(caps, "PIPELINING")
	}
	if s.Expire != "" {
		caps = append(caps, fmt.Sprintf("EXPIRE %s", s.Expire))
	}
	if s.LoginDelay != "" {
		caps = append(caps, fmt.Sprintf("LOGIN-DELAY %s", s.LoginDelay))
	}
	return caps
}
