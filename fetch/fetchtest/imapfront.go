package fetchtest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// Bounds of what one logged command keeps.
const (
	maxLoggedLine    = 64 << 10
	maxLoggedLiteral = 256
)

// A commandLog collects commands of all sessions in order of arrival.
type commandLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *commandLog) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *commandLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

func (l *commandLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = nil
}

// A front is the listener that imapserver accepts from. It does TLS and
// STARTTLS itself, so that it can log the commands as they were sent, in every
// kind of session.
type front struct {
	net.Listener
	security session.Security
	config   *tls.Config
	log      *commandLog

	ready chan net.Conn
	done  chan struct{}
	close sync.Once

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newFront(ln net.Listener, security session.Security, config *tls.Config, log *commandLog) *front {
	f := &front{
		Listener: ln, security: security, config: config, log: log,
		ready: make(chan net.Conn), done: make(chan struct{}), conns: make(map[net.Conn]struct{}),
	}
	go func() {
		defer f.Close()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns[c] = struct{}{}
			f.mu.Unlock()
			go f.admit(c)
		}
	}()
	return f
}

// Accept returns the next connection that is as protected as asked for.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.ready:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

// Close ends listening; connections go on.
func (f *front) Close() error {
	f.close.Do(func() { close(f.done) })
	f.Listener.Close()
	return nil
}

// cut closes every connection.
func (f *front) cut() {
	f.mu.Lock()
	var conns []net.Conn
	for c := range f.conns {
		conns = append(conns, c)
	}
	f.mu.Unlock()
	closeAll(conns)
}

func (f *front) forget(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
}

func (f *front) admit(raw net.Conn) {
	c := &loggedConn{Conn: raw, commands: commandReader{log: f.log}, closed: func() { f.forget(raw) }}
	switch f.security {
	case session.TLS:
		c.Conn = tls.Server(raw, f.config)
	case session.STARTTLS:
		if !f.startTLS(raw) {
			raw.Close()
			f.forget(raw)
			return
		}
		c.Conn = tls.Server(raw, f.config)
		// imapserver greets at once, but a greeting after the handshake is no part
		// of STARTTLS (RFC 3501 §6.2.1).
		c.mute = true
	}
	select {
	case f.ready <- c:
	case <-f.done:
		c.Close()
	}
}

// startTLS holds the cleartext part of a session and reports whether the
// client asked for TLS. What the client sent after STARTTLS is dropped, so
// that nothing can be injected.
func (f *front) startTLS(c net.Conn) bool {
	const caps = "CAPABILITY IMAP4rev1 SASL-IR LITERAL- STARTTLS LOGINDISABLED"
	c.SetDeadline(time.Now().Add(30 * time.Second))
	defer c.SetDeadline(time.Time{})
	if _, err := fmt.Fprintf(c, "* OK [%s] IMAP server ready\r\n", caps); err != nil {
		return false
	}
	lines := bufio.NewReaderSize(c, 4096)
	reader := commandReader{log: f.log}
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return false
		}
		reader.feed(line)
		tag, rest, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		verb, _, _ := strings.Cut(rest, " ")
		answer, ends := "BAD Unknown command", false
		switch strings.ToUpper(verb) {
		case "STARTTLS":
			_, err := fmt.Fprintf(c, "%s OK Begin TLS negotiation now\r\n", tag)
			return err == nil
		case "CAPABILITY":
			answer = "OK CAPABILITY completed"
			fmt.Fprintf(c, "* %s\r\n", caps)
		case "NOOP":
			answer = "OK NOOP completed"
		case "LOGOUT":
			answer, ends = "OK LOGOUT completed", true
			fmt.Fprint(c, "* BYE Logging out\r\n")
		case "LOGIN", "AUTHENTICATE":
			answer = "NO [PRIVACYREQUIRED] TLS is required to log in"
		}
		if _, err := fmt.Fprintf(c, "%s %s\r\n", tag, answer); err != nil || ends {
			return false
		}
	}
}

// A loggedConn logs the commands that are read from it. Read and Write may be
// called by different goroutines.
type loggedConn struct {
	net.Conn
	closed func()

	mu       sync.Mutex
	commands commandReader
	mute     bool // the first line written is dropped
}

func (c *loggedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	c.commands.feed(b[:n])
	c.mu.Unlock()
	return n, err
}

func (c *loggedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.commands.answered(b)
	mute := c.mute
	c.mute = false
	c.mu.Unlock()
	if mute {
		if n := bytes.IndexByte(b, '\n') + 1; n > 0 {
			m, err := c.Conn.Write(b[n:])
			return n + m, err
		}
	}
	return c.Conn.Write(b)
}

func (c *loggedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// A commandReader finds the commands in what an IMAP client sends.
type commandReader struct {
	log     *commandLog
	line    []byte // the command so far
	literal int64  // octets of a literal still to come
	show    bool   // the literal is short enough to be shown
	waits   bool   // a synchronising literal was announced and nothing of it came yet
	secret  bool   // the next line is the answer to an AUTHENTICATE challenge
}

func (r *commandReader) feed(b []byte) {
	for len(b) > 0 {
		if r.literal > 0 {
			n := min(r.literal, int64(len(b)))
			if r.show {
				r.line = append(r.line, b[:n]...)
			}
			r.literal -= n
			r.waits = false
			b = b[n:]
			continue
		}
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			n = len(b)
		}
		if len(r.line)+n <= maxLoggedLine {
			r.line = append(r.line, b[:n]...)
		}
		ended := b[n-1] == '\n'
		b = b[n:]
		if ended {
			r.lineEnd()
		}
	}
}

// lineEnd decides whether a command is complete or goes on with a literal
// (RFC 3501 §4.3, RFC 7888).
func (r *commandReader) lineEnd() {
	r.line = bytes.TrimRight(r.line, "\r\n")
	if open := bytes.LastIndexByte(r.line, '{'); open >= 0 && bytes.HasSuffix(r.line, []byte("}")) {
		digits := r.line[open+1 : len(r.line)-1]
		count, nonSync := bytes.CutSuffix(digits, []byte("+"))
		if n, err := strconv.ParseInt(string(count), 10, 64); err == nil && n >= 0 {
			r.literal, r.waits = n, !nonSync
			if r.show = n <= maxLoggedLiteral; r.show {
				r.line = bytes.TrimRight(r.line[:open], "~")
			} else {
				r.line = fmt.Appendf(r.line[:open], "{%d}", n)
			}
			return
		}
	}
	r.record()
}

// answered looks at what the server writes: a tagged answer instead of a
// continuation means that the announced literal will not come.
func (r *commandReader) answered(b []byte) {
	if !r.waits {
		return
	}
	tag, _, _ := bytes.Cut(r.line, []byte(" "))
	if rest, ok := bytes.CutPrefix(b, tag); ok && bytes.HasPrefix(rest, []byte(" ")) {
		r.literal, r.waits = 0, false
		r.record()
	}
}

func (r *commandReader) record() {
	line := string(r.line)
	r.line = r.line[:0]
	if r.secret {
		r.secret = false
		r.log.add("***")
		return
	}
	_, command, ok := strings.Cut(line, " ")
	if !ok { // IDLE's DONE has no tag
		command = line
	}
	verb, args, _ := strings.Cut(command, " ")
	switch strings.ToUpper(verb) {
	case "":
		return
	case "LOGIN":
		command = verb + " ***"
	case "AUTHENTICATE":
		mechanism, _, initial := strings.Cut(args, " ")
		command = verb + " " + mechanism
		if initial {
			command += " ***"
		} else {
			r.secret = true
		}
	}
	r.log.add(command)
}
