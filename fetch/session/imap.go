package session

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

const (
	logoutPatience = 3 * time.Second
	strayFetches   = 100_000 // FETCH responses nobody waits for before the server is not believed
	extraKept      = 1 << 16 // extra items that wait to be asked for
)

// IMAP is an IMAP session in the authenticated state (RFC 3501 §3.2).
//
// Client runs it, over a connection that repairs what Client cannot read and
// bounds what it would not: see MailboxName and FlagName for the names that
// Client knows things by. Do not use Client.Close, nor anything that concerns
// login. A command's error means little before Err has looked at it.
//
// The session is used by one goroutine, but Drop may be called from any.
type IMAP struct {
	Client *imapclient.Client

	c    *conn
	g    *guard
	caps imap.CapSet

	stray atomic.Int64

	mu    sync.Mutex
	extra map[uint32]string
	past  guardWords // before the guard took over
}

// DialIMAP connects, secures the line as s says (without any fallback), logs in
// and asks for capabilities. The session ends when ctx ends. The error is *Error
// or ctx.Err().
//
// Whether s.Security may be Cleartext is for the caller to decide.
func DialIMAP(ctx context.Context, s Server) (*IMAP, error) {
	c, err := dial(ctx, s)
	if err != nil {
		return nil, err
	}
	c.transcribeLiterals()
	l := &imapLogin{c: c}
	if err := l.run(ctx); err != nil {
		c.drop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var e *Error
		if !errors.As(err, &e) {
			err = netError(err)
		}
		return nil, err
	}
	return overGuard(c, l), nil
}

// overGuard hands the connection to the library.
func overGuard(c *conn, l *imapLogin) *IMAP {
	g := newGuard(c, c.br)
	m := &IMAP{c: c, g: g, caps: l.caps, past: l.text}
	g.owe = c.owe
	g.command = c.traceCommand
	if c.tr != nil {
		g.seen = func(p []byte) { c.tr.octets(fromServer, p) }
	}
	g.also = m.keepExtra
	g.literalPlus = l.caps.Has(imap.CapLiteralPlus) || l.caps.Has(imap.CapLiteralMinus)
	if l.idUp {
		g.expect(sentCommand{tag: l.tag(), ours: true})
	} else {
		c.owe(false)
	}
	g.preface("* PREAUTH [CAPABILITY " + libraryCapabilities(l.caps) + "] ready\r\n")
	m.Client = imapclient.New(g, &imapclient.Options{
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Fetch: m.strayFetch},
	})
	return m
}

// libraryCapabilities returns what the library shall believe. It does not learn
// of IMAP4rev2, because it would write mailbox names in UTF-8 without having
// enabled it (RFC 9051 §6.3.1), but of all that IMAP4rev2 includes.
func libraryCapabilities(caps imap.CapSet) string {
	told := map[string]bool{string(imap.CapIMAP4rev1): true}
	for c := range caps {
		if c != imap.CapIMAP4rev2 && !strings.HasPrefix(string(c), "AUTH=") {
			told[string(c)] = true
		}
	}
	for _, c := range []imap.Cap{
		imap.CapNamespace, imap.CapUnselect, imap.CapUIDPlus, imap.CapESearch, imap.CapEnable, imap.CapIdle,
		imap.CapListExtended, imap.CapListStatus, imap.CapMove, imap.CapLiteralMinus, imap.CapStatusSize,
	} {
		if caps.Has(c) {
			told[string(c)] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(told)), " ")
}

// strayFetch takes what no command asked for. The library waits until its
// bodies are read.
func (m *IMAP) strayFetch(msg *imapclient.FetchMessageData) {
	for msg.Next() != nil {
	}
	if m.stray.Add(1) > strayFetches {
		m.g.breakOff(failure(ClassProtocol, "response-flood", nil))
		m.c.drop()
	}
}

// Has reports whether the server offers a capability, directly or as a part of
// another.
func (m *IMAP) Has(c imap.Cap) bool {
	if c == imap.CapSpecialUse && m.caps.Has(imap.CapIMAP4rev2) {
		return true // RFC 9051 §6.3.9.5
	}
	return m.caps.Has(c)
}

// AskAlso makes each UID FETCH that asks for RFC822.SIZE ask for one more item,
// which Client does not know: "X-GM-MSGID" or "EMAILID". "" ends that.
// It is called while no command is in flight.
func (m *IMAP) AskAlso(item string) { m.g.extra = item }

// TakeExtra returns the item asked for by AskAlso of the message with this UID,
// once; "" if the server did not send it. It is there as soon as Client has
// delivered the message.
func (m *IMAP) TakeExtra(uid imap.UID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.extra[uint32(uid)]
	delete(m.extra, uint32(uid))
	return v
}

func (m *IMAP) keepExtra(uid uint32, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.extra == nil {
		m.extra = make(map[uint32]string)
	}
	if len(m.extra) < extraKept {
		m.extra[uid] = value
	}
}

// Watch ends the session at once when ctx ends, until release is called.
func (m *IMAP) Watch(ctx context.Context) (release func() bool) { return m.c.watch(ctx) }

// Err returns the truth behind an error of Client: ctx.Err() if a context ended
// the session, else an *Error. A NO or BAD is "command-refused" or what its
// response code or words say, and reaches the mailbox, or the account if it is
// temporary; after everything else the session is of no more use. nil stays nil.
func (m *IMAP) Err(err error) error {
	if err == nil {
		return nil
	}
	var said *imap.Error
	if errors.As(err, &said) {
		r := refusal{kind: string(said.Type), code: string(said.Code), text: said.Text}
		class, reason := r.meaning(ClassRefused, "command-refused")
		return r.err(class, ReachMailbox, reason)
	}
	var e *Error
	if errors.As(err, &e) {
		return m.farewell(e)
	}
	if cause := m.c.err(); cause != nil && !errors.As(cause, &e) {
		return cause
	}
	if broken := m.g.failure(); errors.As(broken, &e) {
		return m.farewell(e)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return m.farewell(temporary(ClassNetwork, "closed", err))
	}
	// Neither the line nor the guard complains: the library could not read what
	// the guard let pass.
	return failure(ClassProtocol, "response-unreadable", err)
}

// farewell puts a BYE in the place of the break that followed it.
func (m *IMAP) farewell(e *Error) error {
	said := m.g.said()
	if e.Class != ClassNetwork || !said.saidBye {
		return e
	}
	r := refusal{kind: "BYE", code: said.byeCode, text: said.bye}
	class, reason := r.meaning(ClassBusy, "bye")
	bye := r.err(class, ReachAccount, reason)
	bye.Err = e
	return bye
}

// ServerText returns what the server said last that a person should see: a BYE,
// else an ALERT. It is not made safe for display.
func (m *IMAP) ServerText() string {
	said := m.g.said()
	for _, text := range []string{said.bye, said.alert, m.past.alert} {
		if text != "" {
			return text
		}
	}
	return ""
}

// Octets returns how many octets were read and written so far.
func (m *IMAP) Octets() (read, written int64) { return m.c.octets() }

// Drop ends the connection at once. Literals that Client has handed out fail on
// their next Read; read them until they do, then call Wait.
func (m *IMAP) Drop() {
	m.g.kill()
	m.c.drop()
}

// Wait waits until Client reads no more. After Drop it returns soon, unless a
// command's results are not consumed or a literal is half read.
func (m *IMAP) Wait() { <-m.Client.Closed() }

// Close logs out and closes the connection. No command may be in flight. It
// waits a few seconds at most.
func (m *IMAP) Close() error {
	limit := time.AfterFunc(logoutPatience, m.c.drop)
	defer limit.Stop()
	m.Client.Logout().Wait() // whether it is answered makes no difference
	m.g.kill()
	err := m.c.Close()
	m.Wait()
	return err
}
