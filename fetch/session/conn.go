package session

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultDialTimeout = 30 * time.Second
	defaultIdleTimeout = 120 * time.Second

	connBuffer = 64 << 10 // octets; also the bound of readLine
	writeChunk = 32 << 10 // octets that must leave within one IdleTimeout

	// A server that owes an answer and brings less than dripOctets in dripTime of
	// waiting is silent, though it never is for an IdleTimeout: a modem of
	// 56 kbit/s brings that in a hundredth of a second, and a server that prepares
	// a large answer and says so, a line in each IdleTimeout, brings it too.
	dripOctets = 64
	dripTime   = 10 * time.Minute
)

// conn is the transport of one session: TCP, with TLS from the start or from
// startTLS on. It is the net.Conn that the protocol libraries are given.
//
// It keeps time itself: while an answer is owed, each Read must bring an octet
// within IdleTimeout, and all together dripOctets within dripTime; between
// commands it waits for ever. Deadlines that a
// library sets are ignored, because theirs are absolute and would fail a slow
// line or a slow disk. When the context it was dialled with ends, it is closed,
// and what was waiting returns ctx.Err(). All other failures are *Error, but for
// a bare io.EOF at the end of the stream.
//
// One goroutine may read while another writes.
type conn struct {
	s    Server
	tcp  net.Conn
	br   *bufio.Reader // over wire: all reading goes through it
	idle time.Duration
	stop func() bool // ends the watch on the dial context

	mu    sync.Mutex
	nc    net.Conn // tcp, or TLS over it
	owed  bool
	cause error // why we closed it: ctx.Err(), or net.ErrClosed
	first error // the first failure of a read or write

	since   time.Time     // the server is waited for; or something was written to it
	waited  time.Duration // for the last brought octets
	brought int

	read, written atomic.Int64

	masks masks
	tr    *transcript // nil: none
}

// dial connects to s.Host, and shakes hands at once if s.Security is TLS. The
// server's first answer is owed then.
func dial(ctx context.Context, s Server) (*conn, error) {
	switch s.Security {
	case TLS, STARTTLS, Cleartext:
	default:
		return nil, failure(ClassLocal, "security-unknown", nil)
	}
	if s.DialTimeout <= 0 {
		s.DialTimeout = defaultDialTimeout
	}
	if s.IdleTimeout <= 0 {
		s.IdleTimeout = defaultIdleTimeout
	}
	tcp, err := connect(ctx, s)
	if err != nil {
		return nil, err
	}
	c := newConn(ctx, tcp, s)
	if s.Security == TLS {
		if err := c.handshake(ctx); err != nil {
			c.drop()
			return nil, err
		}
	}
	return c, nil
}

// newConn puts a conn on an open connection.
func newConn(ctx context.Context, tcp net.Conn, s Server) *conn {
	c := &conn{s: s, tcp: tcp, nc: tcp, idle: s.IdleTimeout, owed: true}
	if c.idle <= 0 {
		c.idle = defaultIdleTimeout
	}
	c.br = bufio.NewReaderSize(wire{c}, connBuffer)
	if s.Transcript != nil {
		c.tr = &transcript{w: s.Transcript, m: &c.masks}
	}
	c.stop = context.AfterFunc(ctx, func() { c.abort(ctx.Err()) })
	return c
}

// watch closes the connection when ctx ends, until the returned function is
// called: for operations with a context of their own.
func (c *conn) watch(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { c.abort(ctx.Err()) })
}

// abort closes the connection at once and remembers why.
func (c *conn) abort(cause error) {
	c.mu.Lock()
	if c.cause == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	c.tcp.Close()
}

// startTLS shakes hands on a connection that was cleartext so far. The caller
// has just read the server's consent, and forgets all it learnt before.
func (c *conn) startTLS(ctx context.Context) error {
	if c.br.Buffered() > 0 {
		// Octets that came in cleartext behind the consent would be read as if
		// they had come through TLS (CVE-2021-39272 and its kin).
		return failure(ClassTLS, "starttls-injection", nil)
	}
	return c.handshake(ctx)
}

func (c *conn) handshake(ctx context.Context) error {
	t := tls.Client(c.tcp, &tls.Config{
		ServerName: c.s.Host,
		RootCAs:    c.s.RootCAs,
		MinVersion: tls.VersionTLS12,
	})
	// A deadline that was set for a read in cleartext must not end the handshake.
	c.tcp.SetDeadline(time.Time{})
	limited, cancel := context.WithTimeout(ctx, orDefault(c.s.DialTimeout, defaultDialTimeout))
	err := t.HandshakeContext(limited)
	cancel()
	if tr := c.s.Trace; tr != nil && tr.TLSDone != nil {
		tr.TLSDone(t.ConnectionState(), err)
	}
	if err != nil {
		if cause := c.ended(ctx); cause != nil {
			return cause
		}
		return tlsError(err)
	}
	c.mu.Lock()
	c.nc = t
	c.mu.Unlock()
	return nil
}

// ended returns why the connection was closed by us, if it was.
func (c *conn) ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

func orDefault(d, or time.Duration) time.Duration {
	if d <= 0 {
		return or
	}
	return d
}

// owe says whether the server owes an answer. Every Write says so too; whoever
// has read the last answer that is due says owe(false).
func (c *conn) owe(due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed = due
	c.arm()
}

// arm sets the read deadline, also for a Read that is already waiting. c.mu is
// held.
func (c *conn) arm() {
	var t time.Time
	if c.owed {
		t = time.Now().Add(c.idle)
	}
	c.nc.SetReadDeadline(t)
}

// wire is the reading side under the buffer.
type wire struct{ c *conn }

func (w wire) Read(p []byte) (int, error) {
	c := w.c
	c.mu.Lock()
	nc := c.nc
	c.arm()
	c.since = time.Now()
	c.mu.Unlock()
	n, err := nc.Read(p)
	if c.drips(n) && err == nil {
		err = temporary(ClassNetwork, "silent", errDrips)
	}
	if n > 0 {
		total := c.read.Add(int64(n))
		if t := c.s.Trace; t != nil && t.Octets != nil {
			t.Octets(total, c.written.Load())
		}
	}
	if err != nil {
		err = c.broken(err)
	}
	return n, err
}

var errDrips = errors.New("next to nothing came for a long time")

// drips takes note of n octets read, and reports whether far too few came while
// an answer was owed. Time in which nobody reads does not count.
func (c *conn) drips(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.owed {
		c.waited, c.brought = 0, 0
		return false
	}
	c.waited += time.Since(c.since)
	c.brought += n
	if c.waited < max(dripTime, 5*c.idle) {
		return false
	}
	few := c.brought < dripOctets
	c.waited, c.brought = 0, 0
	return few
}

// broken classifies an I/O failure and remembers the first one.
func (c *conn) broken(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.cause != nil && c.cause != net.ErrClosed:
		err = c.cause
	case err == io.EOF:
	default:
		err = netError(err)
	}
	if c.first == nil {
		c.first = err
	}
	return err
}

// err returns the first failure of the connection as *Error or ctx.Err(), or
// nil: the truth behind what a library made of it.
func (c *conn) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.first == nil:
		return nil
	case errors.Is(c.first, context.Canceled), errors.Is(c.first, context.DeadlineExceeded):
		var e *Error
		if errors.As(c.first, &e) {
			return e
		}
		return c.first
	}
	return netError(c.first)
}

// Read reads what the server sends.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.br.Read(p)
	if c.tr != nil && n > 0 {
		c.tr.octets(fromServer, p[:n])
	}
	return n, err
}

// readLine returns the next line with its line end; it is valid until the next
// read. A line over limit octets (at most connBuffer) is an *Error
// "line-too-long", and so is an end of the stream: "closed". The line is written
// to the transcript.
func (c *conn) readLine(limit int) ([]byte, error) {
	line, err := c.br.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull, err == nil && len(line) > limit:
		return nil, failure(ClassProtocol, "line-too-long", nil)
	case err == io.EOF:
		return nil, netError(io.ErrUnexpectedEOF)
	case err != nil:
		return nil, err
	}
	if c.tr != nil {
		c.tr.octets(fromServer, line)
	}
	return line, nil
}

// Write sends p to the server, which owes an answer from then on.
func (c *conn) Write(p []byte) (int, error) {
	if c.tr != nil {
		c.tr.octets(fromClient, p)
	}
	sent := 0
	for sent < len(p) {
		c.mu.Lock()
		nc := c.nc
		c.owed = true
		c.arm()
		// While something leaves, nothing need come.
		c.since, c.waited, c.brought = time.Now(), 0, 0
		nc.SetWriteDeadline(time.Now().Add(c.idle))
		c.mu.Unlock()
		n, err := nc.Write(p[sent:min(len(p), sent+writeChunk)])
		sent += n
		total := c.written.Add(int64(n))
		if t := c.s.Trace; t != nil && t.Octets != nil {
			t.Octets(c.read.Load(), total)
		}
		if err != nil {
			return sent, c.broken(err)
		}
	}
	return sent, nil
}

// octets returns how many octets were read and written so far, above TLS.
func (c *conn) octets() (read, written int64) { return c.read.Load(), c.written.Load() }

// mask keeps secrets out of the transcript, of traces and of what masked is
// applied to, in plain, quoted and base64 form.
func (c *conn) mask(secrets ...string) { c.masks.add(secrets...) }

// masked returns s with the secrets blotted out.
func (c *conn) masked(s string) string { return c.masks.apply(s) }

// traceCommand reports a command line without its line end, masked.
func (c *conn) traceCommand(line string) {
	if t := c.s.Trace; t != nil && t.Command != nil {
		t.Command(c.masked(line))
	}
}

// transcribeLiterals makes the transcript understand IMAP literals: large ones
// are counted, not written.
func (c *conn) transcribeLiterals() {
	if c.tr != nil {
		c.tr.literals = true
	}
}

// Close ends the connection, with TLS's own farewell. It may be called twice.
func (c *conn) Close() error {
	c.stop()
	c.mu.Lock()
	nc, cause := c.nc, c.cause
	if c.cause == nil {
		c.cause = net.ErrClosed
	}
	c.mu.Unlock()
	if cause != nil {
		c.tcp.Close()
		return nil
	}
	if c.tr != nil {
		c.tr.flush()
	}
	return nc.Close()
}

// drop ends the connection at once, as if the line had been cut.
func (c *conn) drop() {
	c.abort(net.ErrClosed)
	c.stop()
	if c.tr != nil {
		c.tr.flush()
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.tcp.LocalAddr() }
func (c *conn) RemoteAddr() net.Addr { return c.tcp.RemoteAddr() }

// SetDeadline does nothing; conn keeps time itself.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing; conn keeps time itself.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing; conn keeps time itself.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
