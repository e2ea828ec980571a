package session

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	guardTextMax   = 1 << 20   // octets of one response, body literals left out
	guardSearchMax = 16 << 20  // the same while a SEARCH is answered, which may name every UID
	guardBodyMax   = 1<<32 - 1 // octets of a body: a literal's size is a 32-bit number (RFC 3501 §9)
	guardDropMax   = 64 << 20  // octets of dropped responses between two that were not
	guardHoldMax   = 1 << 20   // octets of bodies held in memory until their UID is known
	guardBodies    = 16        // body items in one response
	guardTextKept  = 1 << 10   // octets kept of what the server says in words
)

// guard is the net.Conn under the IMAP library: what the server sends passes
// through it, response by response, and comes out in the one spelling of
// RFC 3501 that the library reads without a surprise; what the library sends
// passes it command by command, with the server's own mailbox names put back.
//
// Octets of body literals pass as they are. The last octet of a body is handed
// on only after the response was seen to go on as a FETCH response does, so a
// body whose announced size is wrong ends in an error and never in an EOF.
//
// One goroutine may read while another writes. Reads are serialised, because
// the library reads the rest of a cut-off literal from two goroutines.
type guard struct {
	net.Conn
	br *bufio.Reader // all reading goes through it

	// The hooks may be nil.
	owe     func(bool)                     // the server owes an answer, or none any more
	seen    func([]byte)                   // octets as they were read
	command func(string)                   // a command line as it is sent
	dropped func(kind string, line []byte) // a response that is not handed on, with its first line
	also    func(uid uint32, value string) // the extra item of a FETCH response

	extra       string // item that is asked for beside RFC822.SIZE, "" for none
	literalPlus bool   // LITERAL+ or LITERAL- was offered (RFC 7888)

	dead   atomic.Bool // every further Read fails
	closed atomic.Bool // the library's reader has ended

	rmu    sync.Mutex
	out    []byte // rewritten octets to be read
	outPos int
	left   int64 // octets of a body literal still to pass
	failed error
	seg    segment
	spent  int // octets of the response that is being read
	limit  int
	wasted int    // octets of responses dropped in a row
	long   []byte // a line longer than br's buffer
	lit    []byte // a literal that is not a body
	fetch  fetchState
	flag   []byte // a list of flags
	held   []heldPart
	dates  map[uint32][]byte // INTERNALDATEs that came ahead of their bodies
	first  []byte            // first line of a response whose turn has not come
	early  bool              // first is such a line

	wmu     sync.Mutex
	pending []byte // a command line that is not complete yet
	sending []byte
	litOut  int64 // octets of a literal the library is still to write
	inside  bool  // the next line goes on with a command after a literal
	aheads  int   // commands sent ahead so far

	mu     sync.Mutex
	cmds   []sentCommand
	wants  wants
	conts  int // continuation requests the library waits for
	words  guardWords
	broken error     // the first failure that came out of Read
	turned sync.Cond // the state of a command sent ahead has changed
}

// guardWords is what the server said in words, latest first kept.
type guardWords struct {
	bye, alert, no string
	byeCode        string
	saidBye        bool
}

func newGuard(nc net.Conn, br *bufio.Reader) *guard {
	g := &guard{Conn: nc, br: br}
	g.turned.L = &g.mu
	return g
}

// preface makes the guard say something to the library before it passes on
// what the server says.
func (g *guard) preface(s string) { g.out = append(g.out, s...) }

// Read hands on what the server sent. An error is *Error, ctx.Err() or, at the
// end of the stream between two responses, io.EOF.
func (g *guard) Read(p []byte) (int, error) {
	g.rmu.Lock()
	defer g.rmu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if g.dead.Load() {
			return 0, net.ErrClosed
		}
		if g.outPos < len(g.out) {
			n := copy(p, g.out[g.outPos:])
			g.outPos += n
			return n, nil
		}
		g.out, g.outPos = g.out[:0], 0
		var err error
		switch {
		case g.failed != nil:
			return 0, g.failed
		case g.left > 1:
			return g.pass(p)
		case g.left == 1:
			err = g.bodyEnd()
		case len(g.held) > 0:
			n, err := g.readHeld(p)
			if n > 0 || err != nil {
				return n, err
			}
		default:
			err = g.responses()
		}
		if err != nil {
			g.fail(err)
		}
	}
}

// responses reads one response, and those behind it that have arrived
// completely, as long as they are small: it saves a call for each.
func (g *guard) responses() error {
	for {
		mark := len(g.out)
		if err := g.response(); err != nil {
			// What came before it is good and has to be read first.
			g.out = g.out[:mark]
			return err
		}
		if g.left > 0 || len(g.held) > 0 || len(g.out) >= 4096 || g.early {
			return nil
		}
		next, _ := g.br.Peek(g.br.Buffered())
		if i := bytes.IndexByte(next, '\n'); i < 0 || bytes.IndexByte(next[:i], '{') >= 0 {
			return nil
		}
	}
}

// pass hands on octets of a body literal, all but the last.
func (g *guard) pass(p []byte) (int, error) {
	if int64(len(p)) > g.left-1 {
		p = p[:g.left-1]
	}
	n, err := g.br.Read(p)
	g.left -= int64(n)
	if n > 0 {
		g.see(p[:n])
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	g.fail(cutLiteral(err))
	return 0, g.failed
}

// bodyEnd reads the last octet of a body literal and what follows it.
func (g *guard) bodyEnd() error {
	last, err := g.br.ReadByte()
	if err != nil {
		return cutLiteral(err)
	}
	g.left = 0
	g.see([]byte{last})
	g.out = append(g.out, last)
	if err := g.nextSegment(); err != nil {
		g.out = g.out[:0]
		return err
	}
	if err := g.afterBody(); err != nil {
		g.out = g.out[:0]
		return err
	}
	return nil
}

func (g *guard) see(p []byte) {
	if g.seen != nil {
		g.seen(p)
	}
}

// fail makes err the end of the stream.
func (g *guard) fail(err error) {
	if g.failed != nil {
		return
	}
	g.failed = err
	g.dropHeld()
	if err != io.EOF {
		g.breakOff(err)
	}
}

// breakOff notes err as the session's failure unless there was one before.
func (g *guard) breakOff(err error) {
	g.mu.Lock()
	if g.broken == nil {
		g.broken = err
	}
	g.mu.Unlock()
}

// failure returns the first failure that came out of Read, nil if there was
// none.
func (g *guard) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.broken
}

// cutLiteral is what an I/O error means inside a literal.
func cutLiteral(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return temporary(ClassNetwork, "literal-short", io.ErrUnexpectedEOF)
	}
	return err
}

// line returns the next line without its line end. It is valid until the next
// read. io.EOF means that there is no further line.
func (g *guard) line() ([]byte, error) {
	g.long = g.long[:0]
	for {
		part, err := g.br.ReadSlice('\n')
		g.spent += len(part)
		g.see(part)
		if g.spent > g.limit && g.wanted().searches {
			g.limit = guardSearchMax
		}
		switch {
		case g.spent > g.limit:
			return nil, failure(ClassProtocol, "response-too-long", nil)
		case err == bufio.ErrBufferFull:
			g.long = append(g.long, part...)
		case err == io.EOF && len(part)+len(g.long) > 0:
			return nil, temporary(ClassNetwork, "closed", io.ErrUnexpectedEOF)
		case err != nil:
			return nil, err
		default:
			if len(g.long) > 0 {
				g.long = append(g.long, part...)
				part = g.long
			}
			return bytes.TrimRight(part, "\r\n"), nil
		}
	}
}

// nextSegment goes on with the line behind a literal.
func (g *guard) nextSegment() error {
	b, err := g.line()
	if err == io.EOF {
		return temporary(ClassNetwork, "closed", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	g.seg = segment{b: b}
	return nil
}

// smallLiteral reads a literal of n octets that is not a body, and goes on with
// the line behind it. The octets are valid until the next literal.
func (g *guard) smallLiteral(n int64) ([]byte, error) {
	if n > int64(g.limit-g.spent) {
		return nil, failure(ClassProtocol, "response-too-long", nil)
	}
	g.spent += int(n)
	if int64(cap(g.lit)) < n {
		g.lit = make([]byte, n)
	}
	g.lit = g.lit[:n]
	if _, err := io.ReadFull(g.br, g.lit); err != nil {
		return nil, cutLiteral(err)
	}
	g.see(g.lit)
	return g.lit, g.nextSegment()
}

// discard reads n octets of a literal and forgets them.
func (g *guard) discard(n int64) error {
	if g.seen == nil {
		_, err := io.CopyN(io.Discard, g.br, n)
		if err != nil {
			return cutLiteral(err)
		}
		return g.nextSegment()
	}
	if _, err := io.CopyN(seeWriter{g}, g.br, n); err != nil {
		return cutLiteral(err)
	}
	return g.nextSegment()
}

type seeWriter struct{ g *guard }

func (w seeWriter) Write(p []byte) (int, error) {
	w.g.see(p)
	return len(p), nil
}

// drop forgets the response that was read.
func (g *guard) drop(kind string, line []byte) error {
	g.wasted += g.spent
	if g.wasted > guardDropMax {
		return failure(ClassProtocol, "response-flood", nil)
	}
	if g.dropped != nil {
		g.dropped(kind, line)
	}
	return nil
}

// kill makes every further Read fail at once.
func (g *guard) kill() {
	g.dead.Store(true)
	g.mu.Lock()
	g.turned.Broadcast()
	g.mu.Unlock()
}

// Close closes the connection. The library's reader calls it at its end.
func (g *guard) Close() error {
	g.kill()
	g.closed.Store(true)
	return g.Conn.Close()
}

// SetDeadline does nothing: the library's deadlines are absolute and would fail
// a slow line; the connection below keeps time itself.
func (g *guard) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing, as SetDeadline.
func (g *guard) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, as SetDeadline.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }
