package fetchtest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Faults are what a Proxy does to one connection. The zero value relays
// everything as it is. Octets are counted as the server sent them, before
// Rewrite.
type Faults struct {
	Refuse bool // close as soon as the client has connected

	CutAfter   int64 // end the connection after so many octets from the server; 0: never
	StallAfter int64 // relay nothing more after so many octets from the server, and keep the connection; 0: never

	// CutAt, if not nil, sees each line of the server, its line end included;
	// when it returns true the connection ends before that line is relayed.
	// CutAtCommand is the same for lines of the client.
	CutAt        func(line []byte) bool
	CutAtCommand func(line []byte) bool

	RST bool // end the connection with a reset instead of an orderly close

	Chunk int           // relay the server's octets in writes of at most so many; 0: as they come
	Delay time.Duration // wait before each write to the client, and before each to the server

	// Rewrite, if not nil, sees each line of the server, its line end included,
	// and returns what the client receives in its place; nil drops the line. It
	// sees the lines of message bodies too. A line longer than 64 KiB comes in
	// pieces. RewriteCommand is the same for lines of the client.
	Rewrite        func(line []byte) []byte
	RewriteCommand func(line []byte) []byte
}

// A Proxy stands before a server and spoils the line. Each connection has
// faults of its own, so that a test can spoil the first and leave those alone
// in which the client tries again.
type Proxy struct {
	target string
	faults func(conn int) Faults

	peer
	n    int
	down int64
}

// NewProxy returns a Proxy before the address target. faults is asked once for
// each connection, with 0 for the first, and may be nil. It listens only after
// Listen.
func NewProxy(target net.Addr, faults func(conn int) Faults) *Proxy {
	if faults == nil {
		faults = func(int) Faults { return Faults{} }
	}
	return &Proxy{target: target.String(), faults: faults}
}

// Listen starts the proxy on a free port of 127.0.0.1 and returns its address.
func (p *Proxy) Listen() (*net.TCPAddr, error) {
	return p.listen(func(c net.Conn) {
		p.mu.Lock()
		faults := p.faults(p.n)
		p.n++
		p.mu.Unlock()
		go p.relay(c.(*net.TCPConn), faults)
	})
}

// Close stops the proxy and ends every connection. It may be called twice.
func (p *Proxy) Close() error { return p.close() }

// Conns returns how many connections were accepted so far.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// Octets returns how many octets servers sent so far in all connections.
func (p *Proxy) Octets() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down
}

func (p *Proxy) track(conns ...net.Conn) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range conns {
			delete(p.conns, c)
		}
	}
}

func (p *Proxy) relay(client *net.TCPConn, f Faults) {
	defer client.Close()
	if f.Refuse {
		end(client, f.RST)
		return
	}
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	defer p.track(client, server)()

	var both sync.WaitGroup
	both.Go(func() {
		up := relayed{to: server, rewrite: f.RewriteCommand, cutAt: f.CutAtCommand, delay: f.Delay}
		if up.copy(client) {
			server.Close()
			end(client, f.RST)
			return
		}
		server.CloseWrite()
	})
	both.Go(func() {
		down := relayed{
			to: client, rewrite: f.Rewrite, cutAt: f.CutAt, delay: f.Delay, chunk: f.Chunk,
			cut: f.CutAfter, stall: f.StallAfter, seen: func(n int) {
				p.mu.Lock()
				p.down += int64(n)
				p.mu.Unlock()
			},
		}
		if down.copy(server) {
			server.Close()
			end(client, f.RST)
			return
		}
		client.CloseWrite()
	})
	both.Wait()
}

// end closes a connection; with rst the peer sees a reset. Otherwise the peer
// gets all that was written and then the end: what it still sends is read for a
// while, because closing a socket with unread octets makes a reset of it.
func end(c *net.TCPConn, rst bool) {
	if rst {
		c.SetLinger(0)
	} else if c.CloseWrite() == nil {
		c.SetReadDeadline(time.Now().Add(time.Second))
		io.Copy(io.Discard, c)
	}
	c.Close()
}

// relayed is one direction of a connection.
type relayed struct {
	to         net.Conn
	rewrite    func([]byte) []byte
	cutAt      func([]byte) bool
	delay      time.Duration
	chunk      int
	cut, stall int64
	seen       func(int)
	count      int64
	stalled    bool
}

// copy relays until the sender ends, and reports whether the connection is to
// be cut.
func (r *relayed) copy(from net.Conn) (cut bool) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		var piece []byte
		var err error
		if r.rewrite != nil || r.cutAt != nil {
			piece, err = lines.ReadSlice('\n')
		} else if _, err = lines.Peek(1); err == nil {
			piece, _ = lines.Peek(lines.Buffered())
			lines.Discard(len(piece))
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		if r.seen != nil {
			r.seen(len(piece))
		}
		ends, ok := r.pass(piece)
		if ends {
			if r.stalled {
				// Silent, but not gone: the client must find out by itself.
				io.Copy(io.Discard, lines)
			}
			return true
		}
		if err != nil || !ok {
			return false
		}
	}
}

// pass relays one piece. It reports that the connection ends here, and whether
// the receiver took the piece.
func (r *relayed) pass(piece []byte) (ends, ok bool) {
	if r.cutAt != nil && len(piece) > 0 && r.cutAt(piece) {
		return true, true
	}
	before := r.count
	r.count += int64(len(piece))
	limit := int64(-1)
	for _, at := range []int64{r.cut, r.stall} {
		if at > 0 && r.count >= at && (limit < 0 || at < limit) {
			limit = at
		}
	}
	if limit >= 0 {
		piece = piece[:limit-before]
		r.stalled = limit == r.stall
	}
	if r.rewrite != nil && len(piece) > 0 {
		piece = r.rewrite(piece)
	}
	return limit >= 0, r.write(piece)
}

func (r *relayed) write(piece []byte) bool {
	for len(piece) > 0 {
		n := len(piece)
		if r.chunk > 0 {
			n = min(n, r.chunk)
		}
		if r.delay > 0 {
			time.Sleep(r.delay)
		}
		if _, err := r.to.Write(piece[:n]); err != nil {
			return false
		}
		piece = piece[n:]
	}
	return true
}
