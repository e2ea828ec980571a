package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/go-pop3"
)

const (
	statusLine   = 8 << 10 // octets; RFC 2449 §4 allows 512
	listLine     = 4 << 10 // octets looked at of a line of LIST, UIDL or CAPA
	capaLines    = 1000
	maxMaildrop  = 1 << 20 // messages; a list of more is not believed
	maxWords     = 1 << 10 // octets kept of what a server says
	quitPatience = 15 * time.Second
)

// POP3 is a POP3 session in the TRANSACTION state (RFC 1939 §5). It holds the
// maildrop's lock until Quit or Drop.
//
// It is used by one goroutine. Methods return *Error, or ctx.Err() if their
// context or the one the session was dialled with ended. After an error that is
// not a plain refusal the session is cut off without QUIT, and every further
// call returns that error.
type POP3 struct {
	c    *conn
	lib  *pop3.Conn
	line *lineConn
	caps map[string][]string // nil: the server has no CAPA
	dead error
}

// POP3Message is one message of a maildrop.
type POP3Message struct {
	Num  uint32 // valid in this session only
	Size int64  // octets by LIST: a hint; -1 if it did not say
	UID  string // unique-id; "" if there is no usable one
}

// DialPOP3 connects, secures the line as s says (without any fallback), logs in
// and asks for capabilities. The session ends when ctx ends.
func DialPOP3(ctx context.Context, s Server) (*POP3, error) {
	c, err := dial(ctx, s)
	if err != nil {
		return nil, err
	}
	p := &POP3{c: c}
	if err := p.open(ctx); err != nil {
		return nil, p.kill(err)
	}
	return p, nil
}

func (p *POP3) open(ctx context.Context) error {
	timestamp, err := p.greeting()
	if err != nil {
		return err
	}
	if err := p.capabilities(false); err != nil {
		return err
	}
	if p.c.s.Security == STARTTLS {
		if err := p.stls(ctx); err != nil {
			return err
		}
		// What was learnt in cleartext may have been forged (RFC 2595 §4).
		if err := p.capabilities(false); err != nil {
			return err
		}
	}
	if err := p.login(ctx, timestamp); err != nil {
		return err
	}
	if err := p.capabilities(true); err != nil {
		return err
	}
	return p.adopt()
}

// adopt gives the logged-in connection to the library.
func (p *POP3) adopt() error {
	p.line = &lineConn{conn: p.c, pending: []byte("+OK\r\n")}
	lib, err := pop3.New(pop3.Opt{Dialer: dialed{p.line}}).NewConn()
	if err != nil {
		return failure(ClassLocal, "pop3-library", err)
	}
	p.lib = lib
	return nil
}

// greeting reads the server's first line. It returns the APOP timestamp in it,
// or "" (RFC 1939 §7).
func (p *POP3) greeting() (timestamp string, err error) {
	line, err := p.c.readLine(statusLine)
	if err != nil {
		return "", err
	}
	text := string(bytes.TrimRight(line, "\r\n"))
	if t := p.c.s.Trace; t != nil && t.Greeting != nil {
		t.Greeting(p.c.masked(text))
	}
	ok, words, known := splitStatus(text)
	switch {
	case known && ok:
		return apopTimestamp(words), nil
	case known:
		return "", p.refusal(words, ClassRefused, "greeting-refused")
	}
	reason := "greeting-unknown"
	for _, g := range []struct{ prefix, reason string }{
		{"* OK", "greeting-imap-on-pop3"},
		{"* PREAUTH", "greeting-imap-on-pop3"},
		{"* BYE", "greeting-imap-on-pop3"},
		{"220", "greeting-smtp"},
		{"HTTP/", "greeting-http"},
	} {
		if strings.HasPrefix(text, g.prefix) {
			reason = g.reason
		}
	}
	e := failure(ClassProtocol, reason, nil)
	e.Server = p.words(text)
	return "", e
}

// capabilities asks CAPA (RFC 2449 §5). A server without it is not at fault.
func (p *POP3) capabilities(afterLogin bool) error {
	p.caps = nil
	ok, _, bare, err := p.ask("CAPA")
	if err != nil || !ok {
		return err
	}
	caps := make(map[string][]string)
	var list []string
	err = p.lines(bare, capaLines, func(line []byte) {
		f := strings.Fields(string(line))
		if len(f) > 0 {
			caps[strings.ToUpper(f[0])] = f[1:]
			list = append(list, string(line))
		}
	})
	if err != nil {
		return err
	}
	p.caps = caps
	if t := p.c.s.Trace; t != nil && t.Capabilities != nil {
		t.Capabilities(list, afterLogin)
	}
	return nil
}

// stls secures the line (RFC 2595 §4). There is no way on without it.
func (p *POP3) stls(ctx context.Context) error {
	if _, offered := p.caps["STLS"]; p.caps != nil && !offered {
		return failure(ClassPolicy, "starttls-missing", nil)
	}
	ok, words, _, err := p.ask("STLS")
	if err != nil {
		return err
	}
	if !ok {
		return p.refusal(words, ClassTLS, "starttls-refused")
	}
	return p.c.startTLS(ctx)
}

// Offers reports whether CAPA named the capability name; known is false if the
// server has no CAPA.
func (p *POP3) Offers(name string) (offered, known bool) {
	_, offered = p.caps[name]
	return offered, p.caps != nil
}

// Expire returns the server's retention by CAPA (RFC 2449 §6.7): the days a
// message is kept, 0 if it may be removed once it was retrieved; -1 if it is kept
// for ever or the server does not say.
func (p *POP3) Expire() (days int) {
	args := p.caps["EXPIRE"]
	if len(args) == 0 {
		return -1
	}
	n, err := strconv.ParseUint(args[0], 10, 31)
	if err != nil {
		return -1 // NEVER
	}
	return int(n)
}

// Stat returns the number of messages in the maildrop and their octets.
func (p *POP3) Stat(ctx context.Context) (messages uint32, octets int64, err error) {
	end, err := p.begin(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer end()
	n, size, err := p.lib.Stat()
	if err == nil && n >= 0 && n <= maxMaildrop {
		return uint32(n), int64(size), nil
	}
	if broken := p.line.failed; broken != nil {
		return 0, 0, p.kill(broken)
	}
	ok, words, _ := splitStatus(p.line.last)
	if !ok {
		return 0, 0, p.refusal(words, ClassRefused, "stat-refused")
	}
	// The library wants two numbers that fit an int, which over 2 GB a 32-bit
	// machine's does not. The first is the one that matters.
	f := strings.Fields(words)
	if len(f) > 0 {
		if n, err := strconv.ParseUint(f[0], 10, 32); err == nil && n <= maxMaildrop {
			if len(f) > 1 {
				octets, _ = strconv.ParseInt(f[1], 10, 64)
			}
			return uint32(n), octets, nil
		}
	}
	e := failure(ClassProtocol, "stat-malformed", err)
	e.Server = p.words(words)
	return 0, 0, p.kill(e)
}

// Quit ends the session politely: the server enters the UPDATE state (RFC 1939
// §6). The connection is closed in any case.
func (p *POP3) Quit(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, quitPatience)
	defer cancel()
	end, err := p.begin(limited)
	if err != nil {
		return err
	}
	defer end()
	p.dead = failure(ClassLocal, "session-ended", nil)
	if err := p.lib.Quit(); err != nil {
		p.c.drop()
		switch {
		case ctx.Err() == nil && limited.Err() != nil:
			return temporary(ClassNetwork, "silent", limited.Err())
		case p.line.failed != nil:
			return p.line.failed
		}
		_, words, _ := splitStatus(p.line.last)
		return p.refusal(words, ClassRefused, "quit-refused")
	}
	return nil
}

// Drop cuts the session off without QUIT: the server changes nothing.
func (p *POP3) Drop() { p.kill(failure(ClassLocal, "session-ended", nil)) }

// begin prepares an operation under ctx; the returned function ends it.
func (p *POP3) begin(ctx context.Context) (end func(), err error) {
	if ctx.Err() != nil {
		p.kill(ctx.Err())
		return nil, ctx.Err()
	}
	if p.dead != nil {
		return nil, p.dead
	}
	release := p.c.watch(ctx)
	return func() { release() }, nil
}

// kill cuts the session off without QUIT. It returns why: err, or the end of a
// context that caused it.
func (p *POP3) kill(err error) error {
	if p.dead == nil {
		var e *Error
		if !errors.As(err, &e) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			err = netError(err)
		}
		p.dead = err
		p.c.drop()
	}
	return p.dead
}

// send writes one command line.
func (p *POP3) send(line string) error {
	p.c.traceCommand(line)
	_, err := io.WriteString(p.c, line+"\r\n")
	return err
}

// ask sends a command and reads its status line.
func (p *POP3) ask(line string) (ok bool, words string, bare bool, err error) {
	if err := p.send(line); err != nil {
		return false, "", false, err
	}
	return p.status()
}

// status reads one status line. bare tells that it ended in LF alone. A line
// that is none is an *Error "unknown-status": nobody knows what the server is
// talking about, so the session cannot go on.
func (p *POP3) status() (ok bool, words string, bare bool, err error) {
	line, err := p.c.readLine(statusLine)
	if err != nil {
		return false, "", false, err
	}
	bare = !bytes.HasSuffix(line, []byte("\r\n"))
	text := string(bytes.TrimRight(line, "\r\n"))
	ok, words, known := splitStatus(text)
	if !known {
		return false, "", bare, unknownStatus(p.c, text)
	}
	return ok, words, bare, nil
}

func unknownStatus(c *conn, text string) *Error {
	e := failure(ClassProtocol, "unknown-status", nil)
	e.Server = c.masked(text[:min(len(text), maxWords)])
	return e
}

// splitStatus takes a status line apart (RFC 1939 §3).
func splitStatus(line string) (ok bool, words string, known bool) {
	for _, indicator := range []string{"+OK", "-ERR"} {
		rest, found := strings.CutPrefix(line, indicator)
		if found && (rest == "" || rest[0] == ' ' || rest[0] == '\t') {
			return indicator == "+OK", strings.TrimSpace(rest), true
		}
	}
	return false, "", false
}

// words prepares what the server said for an Error.
func (p *POP3) words(s string) string {
	s = p.c.masked(s)
	return s[:min(len(s), maxWords)]
}

// refusal turns the words of an -ERR into an Error: by their response code
// (RFC 2449 §8, RFC 3206), else by the table of sentences, else class and reason.
func (p *POP3) refusal(words string, class Class, reason string) *Error {
	e := failure(class, reason, nil)
	e.Server = p.words(words)
	switch code := responseCode(words); {
	case code == "IN-USE":
		e.Class, e.Reason, e.Temporary = ClassBusy, "in-use", true
	case code == "LOGIN-DELAY":
		e.Class, e.Reason, e.Temporary = ClassBusy, "login-delay", true
	case code == "SYS/TEMP" || strings.HasPrefix(code, "SYS/TEMP/"):
		e.Class, e.Reason, e.Temporary = ClassBusy, "sys-temp", true
	case code == "SYS/PERM" || strings.HasPrefix(code, "SYS/PERM/"):
		e.Class, e.Reason = ClassRefused, "sys-perm"
	case code == "AUTH" || strings.HasPrefix(code, "AUTH/"):
		e.Class, e.Reason = ClassAuth, "refused"
	default:
		if class, reason, ok := milder(words, false); ok {
			e.Class, e.Reason, e.Temporary = class, reason, true
		}
	}
	return e
}

// responseCode returns the extended response code at the start of words in
// upper case, or "".
func responseCode(words string) string {
	if !strings.HasPrefix(words, "[") {
		return ""
	}
	code, _, found := strings.Cut(words[1:], "]")
	if !found {
		return ""
	}
	return strings.ToUpper(strings.TrimSpace(code))
}

// lineConn is the connection as the library sees it: a greeting it can do
// with, and then never more than one line at a time, so that nothing is left in
// its buffer when we read ourselves.
type lineConn struct {
	*conn
	pending []byte
	last    string // the last status line
	failed  error  // the last failure of Read, classified
}

func (l *lineConn) Read(b []byte) (int, error) {
	if len(l.pending) == 0 {
		line, err := l.readLine(statusLine)
		if err == nil {
			l.last = string(bytes.TrimRight(line, "\r\n"))
			// The library takes an empty line for consent.
			if _, _, known := splitStatus(l.last); !known {
				err = unknownStatus(l.conn, l.last)
			}
		}
		if err != nil {
			l.failed = err
			return 0, err
		}
		l.pending = append(l.pending[:0], line...)
	}
	n := copy(b, l.pending)
	l.pending = l.pending[n:]
	return n, nil
}

func (l *lineConn) Write(b []byte) (int, error) {
	l.traceCommand(string(bytes.TrimRight(b, "\r\n")))
	n, err := l.conn.Write(b)
	if err != nil {
		l.failed = err
	}
	return n, err
}

// dialed is a dialer of the library that has dialled already.
type dialed struct{ nc net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.nc, nil }
