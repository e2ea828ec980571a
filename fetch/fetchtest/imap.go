package fetchtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// hierarchyDelimiter separates the levels of a mailbox name.
const hierarchyDelimiter = '/'

// An IMAP is an IMAP4rev1 server with one user, in memory and octet-true: a
// body is answered exactly as it was added. INBOX exists from the beginning
// with UIDVALIDITY 1.
//
// It knows LIST with RETURN (STATUS SPECIAL-USE), UIDPLUS, LITERAL+, ESEARCH,
// UNSELECT, IDLE, NAMESPACE and CREATE-SPECIAL-USE, and no ENVELOPE, no
// BODYSTRUCTURE and no body parts: a puller asks for whole messages. EXAMINE is
// read-only in earnest.
type IMAP struct {
	User     string
	Password string
	Token    string // if not empty, AUTH=XOAUTH2 is offered and takes it

	Security session.Security // how to listen; "" is cleartext. With STARTTLS no login works before it
	Cert     *tls.Certificate // nil: Certificate()

	NoUIDPlus     bool // neither UIDPLUS nor APPENDUID
	NoListStatus  bool // LIST-STATUS is not offered
	NoSpecialUse  bool // no special-use attributes at all
	NoLiteralPlus bool // only LITERAL-
	AppendLimit   uint32

	// RefuseLogin, if not nil, is asked at each login; its error is the answer
	// (*imap.Error is sent as it is).
	RefuseLogin func(user, password string) error

	// RefuseAppend, if not nil, is asked about each APPEND after its octets have
	// been received.
	RefuseAppend func(mailbox string, octets []byte) error

	// FetchDelay is waited before each message of a FETCH is sent.
	FetchDelay time.Duration

	mu        sync.Mutex
	mailboxes []*mailbox
	sessions  map[*imapSession]struct{}
	changed   chan struct{} // closed and replaced at each change; wakes IDLE
	server    *imapserver.Server
	front     *front
	commands  commandLog
	problems  bytes.Buffer
}

type mailbox struct {
	name        string
	attrs       []imap.MailboxAttr
	uidValidity uint32
	uidNext     uint32
	subscribed  bool
	messages    []*message
}

// A message is immutable but for flags, rev, gone and withheld, which
// IMAP.mu guards. flags is replaced, never changed in place.
type message struct {
	uid      uint32
	octets   []byte
	date     time.Time
	flags    []string
	rev      int
	gone     bool
	withheld bool
}

// A Message is what a mailbox holds, as Messages tells it.
type Message struct {
	UID    uint32
	Octets []byte // not to be changed
	Date   time.Time
	Flags  []string
}

// NewIMAP returns a server that knows one user. It listens only after Listen.
func NewIMAP(user, password string) *IMAP {
	s := &IMAP{
		User:     user,
		Password: password,
		sessions: make(map[*imapSession]struct{}),
		changed:  make(chan struct{}),
	}
	s.AddMailbox("INBOX")
	return s
}

// AddMailbox adds a mailbox. attrs are special-uses (`\Sent`, RFC 6154) or
// other LIST attributes (`\Noselect`). Parents that do not exist are added as
// \Noselect. UIDVALIDITY counts up from 1 in the order of creation.
// It panics if the mailbox exists.
func (s *IMAP) AddMailbox(name string, attrs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(name) != nil {
		panic("fetchtest: mailbox exists: " + name)
	}
	s.add(name, attrs...)
}

func (s *IMAP) add(name string, attrs ...string) *mailbox {
	if i := strings.LastIndexByte(name, hierarchyDelimiter); i > 0 && s.find(name[:i]) == nil {
		s.add(name[:i], string(imap.MailboxAttrNoSelect))
	}
	m := &mailbox{name: name, uidValidity: uint32(len(s.mailboxes) + 1), uidNext: 1}
	for _, a := range attrs {
		m.attrs = append(m.attrs, imap.MailboxAttr(a))
	}
	s.mailboxes = append(s.mailboxes, m)
	return m
}

// Add puts a message into a mailbox and returns its UID. octets are kept, not
// copied; date is the INTERNALDATE with its zone; flags must be atoms.
// It panics if there is no such mailbox.
func (s *IMAP) Add(mailbox string, octets []byte, date time.Time, flags ...string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.append(s.mustFind(mailbox), octets, date, flags)
}

func (s *IMAP) append(m *mailbox, octets []byte, date time.Time, flags []string) uint32 {
	msg := &message{uid: m.uidNext, octets: octets, date: date, flags: slices.Clone(flags)}
	m.uidNext++
	m.messages = append(m.messages, msg)
	s.wake()
	return msg.uid
}

// Expunge removes messages, as another client would. UIDs that are not there
// are ignored.
func (s *IMAP) Expunge(mailbox string, uids ...uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.mustFind(mailbox), func(msg *message) bool { return slices.Contains(uids, msg.uid) })
}

func (s *IMAP) remove(m *mailbox, which func(*message) bool) {
	m.messages = slices.DeleteFunc(m.messages, func(msg *message) bool {
		if which(msg) {
			msg.gone = true
		}
		return msg.gone
	})
	s.wake()
}

// SetFlags replaces the flags of a message, as another client would. It panics
// if the message is not there.
func (s *IMAP) SetFlags(mailbox string, uid uint32, flags ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustMessage(mailbox, uid).setFlags(slices.Clone(flags))
	s.wake()
}

func (msg *message) setFlags(flags []string) {
	msg.flags = flags
	msg.rev++
}

// Withhold makes every later FETCH answer for this message leave its body out,
// as servers do that list a message they cannot read. UID, flags, size and date
// are still told.
func (s *IMAP) Withhold(mailbox string, uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustMessage(mailbox, uid).withheld = true
}

// SetUIDValidity gives a mailbox another UIDVALIDITY; the UIDs stay. Sessions
// that have it selected are cut off, since it must not change within a session
// (RFC 3501 §2.3.1.1).
func (s *IMAP) SetUIDValidity(mailbox string, uidValidity uint32) {
	s.mu.Lock()
	m := s.mustFind(mailbox)
	m.uidValidity = uidValidity
	cut := s.selecting(m)
	s.mu.Unlock()
	closeAll(cut)
}

// SetUIDNext makes the next message of a mailbox get this UID, which must be
// higher than any it had.
func (s *IMAP) SetUIDNext(mailbox string, uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustFind(mailbox).uidNext = uid
}

// Messages returns what a mailbox holds, in order of UID.
func (s *IMAP) Messages(mailbox string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	for _, msg := range s.mustFind(mailbox).messages {
		all = append(all, Message{UID: msg.uid, Octets: msg.octets, Date: msg.date, Flags: slices.Clone(msg.flags)})
	}
	return all
}

// Mailboxes returns the names of all mailboxes, in order of creation.
func (s *IMAP) Mailboxes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, m := range s.mailboxes {
		names = append(names, m.name)
	}
	return names
}

// Commands returns the commands received so far in all sessions, without their
// tags and in order of arrival: `EXAMINE INBOX`, `UID FETCH 1:3 (UID
// BODY.PEEK[])`. Literals are shown in place, those longer than 256 octets as
// `{n}`; secrets are shown as `***`.
func (s *IMAP) Commands() []string { return s.commands.all() }

// ResetCommands forgets the commands received so far.
func (s *IMAP) ResetCommands() { s.commands.reset() }

// Problems returns what the server had to complain of: broken commands, lines
// cut off. It is empty after well-behaved clients.
func (s *IMAP) Problems() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problems.String()
}

// Listen starts the server on a free port of 127.0.0.1 and returns its address.
func (s *IMAP) Listen() (*net.TCPAddr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.front != nil {
		return nil, errors.New("fetchtest: already listening")
	}
	ln, addr, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	caps := imap.CapSet{
		imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapESearch: {}, imap.CapListExtended: {},
		imap.CapChildren: {}, imap.CapStatusSize: {},
	}
	for _, offer := range []struct {
		caps []imap.Cap
		not  bool
	}{
		{[]imap.Cap{imap.CapUIDPlus}, s.NoUIDPlus},
		{[]imap.Cap{imap.CapListStatus}, s.NoListStatus},
		{[]imap.Cap{imap.CapSpecialUse, imap.CapCreateSpecialUse}, s.NoSpecialUse},
		{[]imap.Cap{imap.CapLiteralPlus}, s.NoLiteralPlus},
	} {
		for _, c := range offer.caps {
			if !offer.not {
				caps[c] = struct{}{}
			}
		}
	}
	s.server = imapserver.New(&imapserver.Options{
		NewSession:   s.newSession,
		Caps:         caps,
		InsecureAuth: true, // the front admits nobody before STARTTLS
		Logger:       log.New(problemWriter{s}, "", 0),
	})
	s.front = newFront(ln, s.Security, tlsConfig(s.Cert), &s.commands)
	go s.server.Serve(s.front)
	return addr, nil
}

// Close stops the server and cuts every session. It may be called twice.
func (s *IMAP) Close() error {
	s.mu.Lock()
	server, front := s.server, s.front
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	err := server.Close()
	front.cut()
	return err
}

// Disconnect cuts every session; the server goes on listening.
func (s *IMAP) Disconnect() {
	s.mu.Lock()
	f := s.front
	s.mu.Unlock()
	if f != nil {
		f.cut()
	}
}

// Server returns how to log in to this server at addr, which may be that of a
// Proxy in front of it.
func (s *IMAP) Server(addr *net.TCPAddr) session.Server {
	return server(addr, s.Security, s.User, session.Secret{Password: s.Password, Token: s.Token})
}

func server(addr *net.TCPAddr, security session.Security, user string, secret session.Secret) session.Server {
	if security == "" {
		security = session.Cleartext
	}
	_, pool := Certificate()
	return session.Server{
		Host:     addr.IP.String(),
		Port:     addr.Port,
		Security: security,
		User:     user,
		Secret:   func(context.Context) (session.Secret, error) { return secret, nil },
		RootCAs:  pool,
	}
}

// find returns the mailbox of that name, or nil. INBOX is INBOX in any case
// (RFC 3501 §5.1).
func (s *IMAP) find(name string) *mailbox {
	for _, m := range s.mailboxes {
		if m.name == name || m.name == "INBOX" && strings.EqualFold(name, "INBOX") {
			return m
		}
	}
	return nil
}

func (s *IMAP) mustFind(name string) *mailbox {
	m := s.find(name)
	if m == nil {
		panic("fetchtest: no mailbox " + name)
	}
	return m
}

func (s *IMAP) mustMessage(mailbox string, uid uint32) *message {
	for _, msg := range s.mustFind(mailbox).messages {
		if msg.uid == uid {
			return msg
		}
	}
	panic(fmt.Sprintf("fetchtest: no UID %d in %s", uid, mailbox))
}

// selecting returns the connections that have m selected.
func (s *IMAP) selecting(m *mailbox) []net.Conn {
	var conns []net.Conn
	for sess := range s.sessions {
		if sess.selected == m {
			conns = append(conns, sess.conn.NetConn())
		}
	}
	return conns
}

// wake tells sessions in IDLE that something changed. s.mu is held.
func (s *IMAP) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// A problemWriter keeps what imapserver logs.
type problemWriter struct{ s *IMAP }

func (w problemWriter) Write(b []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.problems.Write(b)
}
