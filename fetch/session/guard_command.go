package session

import (
	"bytes"
	"net"
)

// sentCommand is a command whose tagged response is still to come.
type sentCommand struct {
	tag  string
	ours bool // not the library's: its answers are taken out of the stream
	w    wants

	ahead aheadState
	text  string // of a command sent ahead, as the library spells it
	as    string // the library's tag for it, once claimed
}

// wants is what the commands in flight wait for.
type wants struct {
	fetches    bool // any FETCH or STORE
	seqFetches bool // one of them by message number
	bodies     bool // one of them asks for a body
	dates      bool // one of them asks for a body and INTERNALDATE
	lists      bool
	statuses   bool
	searches   bool
	others     bool // ENABLE, NAMESPACE, GETQUOTA and GETQUOTAROOT
	unclaimed  bool // the command that is being answered was forgotten
}

func (w *wants) add(o wants) {
	w.fetches = w.fetches || o.fetches
	w.seqFetches = w.seqFetches || o.seqFetches
	w.bodies = w.bodies || o.bodies
	w.dates = w.dates || o.dates
	w.lists = w.lists || o.lists
	w.statuses = w.statuses || o.statuses
	w.searches = w.searches || o.searches
	w.others = w.others || o.others
}

// wanted returns what the commands in flight wait for.
func (g *guard) wanted() wants {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.cmds) > 0 && g.cmds[0].ahead == forgotten {
		return wants{unclaimed: true}
	}
	return g.wants
}

// expect notes a command that is about to be sent.
func (g *guard) expect(c sentCommand) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cmds = append(g.cmds, c)
	g.wants.add(c.w)
}

// completed takes a command off the list, known is false if it was not there.
func (g *guard) completed(tag []byte) (c sentCommand, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.cmds {
		if g.cmds[i].tag != string(tag) {
			continue
		}
		c, known = g.cmds[i], true
		g.cmds = append(g.cmds[:i], g.cmds[i+1:]...)
		break
	}
	if known {
		g.wants = wants{}
		for _, other := range g.cmds {
			if other.ahead == notAhead || other.ahead == claimed {
				g.wants.add(other.w)
			}
		}
		// Under the lock, so that a command that is being sent cannot come between.
		if len(g.cmds) == 0 && g.owe != nil {
			g.owe(false)
		}
	}
	return c, known
}

// Write sends what the library writes, line by line. It does not fail while the
// library reads: the library would close channels that its reader is sending on.
// What broke comes out of Read, which a line that cannot be written to ends soon.
// But once the reader has closed the connection, nobody else would tell a command
// that it has failed.
func (g *guard) Write(p []byte) (int, error) {
	if g.closed.Load() {
		return 0, net.ErrClosed
	}
	g.wmu.Lock()
	defer g.wmu.Unlock()
	g.sending = g.sending[:0]
	for rest := p; len(rest) > 0; {
		if g.litOut > 0 {
			n := min(g.litOut, int64(len(rest)))
			g.sending = append(g.sending, rest[:n]...)
			g.litOut -= n
			rest = rest[n:]
			continue
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			g.pending = append(g.pending, rest...)
			break
		}
		line := rest[:i+1]
		if len(g.pending) > 0 {
			g.pending = append(g.pending, line...)
			line = g.pending
		}
		if err := g.commandLine(bytes.TrimRight(line, "\r\n")); err != nil {
			g.breakOff(err)
			g.kill()
			g.Conn.Close()
			return len(p), nil
		}
		g.pending = g.pending[:0]
		rest = rest[i+1:]
	}
	if len(g.sending) > 0 {
		// Nothing is closed: a BYE that says why may still be there to be read.
		g.Conn.Write(g.sending)
	}
	return len(p), nil
}

// commandLine takes note of a line and appends what is to be sent to g.sending.
func (g *guard) commandLine(line []byte) error {
	s := segment{b: line}
	if !g.inside {
		tag := string(s.upToSpace())
		s.spaces()
		if !s.end() {
			if g.claim(tag, s.rest()) {
				return nil
			}
			g.expect(sentCommand{tag: tag, w: commandWants(s.rest())})
		}
	}
	n, sync, isLiteral := trailingLiteral(line)
	g.inside, g.litOut = isLiteral, n
	if sync || equalFold(s.rest(), "IDLE") {
		g.mu.Lock()
		g.conts++
		g.mu.Unlock()
	}
	restored, ok := g.restoreMailboxes(line)
	if !ok {
		return &Error{Class: ClassProtocol, Reach: ReachMailbox, Reason: "mailbox-name-unsendable"}
	}
	restored = g.askAlso(restored)
	if g.command != nil {
		g.command(string(restored))
	}
	g.sending = append(g.sending, restored...)
	g.sending = append(g.sending, "\r\n"...)
	return nil
}

// askAlso adds the extra item to a command that lists messages.
func (g *guard) askAlso(line []byte) []byte {
	if g.extra == "" || len(line) == 0 || line[len(line)-1] != ')' ||
		!bytes.Contains(line, []byte(" UID FETCH ")) || !bytes.Contains(line, []byte("RFC822.SIZE")) {
		return line
	}
	out := append([]byte{}, line[:len(line)-1]...)
	return append(out, " "+g.extra+")"...)
}

// commandWants says what the answers to a command are, from what follows its
// tag.
func commandWants(b []byte) (w wants) {
	s := segment{b: b}
	name := s.upToSpace()
	byUID := equalFold(name, "UID")
	if byUID {
		s.spaces()
		name = s.upToSpace()
	}
	switch {
	case equalFold(name, "FETCH"):
		w.fetches, w.seqFetches = true, !byUID
		w.bodies = bytes.Contains(s.rest(), []byte("BODY"))
		w.dates = w.bodies && bytes.Contains(s.rest(), []byte("INTERNALDATE"))
	case equalFold(name, "STORE"):
		w.fetches, w.seqFetches = true, !byUID
	case equalFold(name, "LIST"):
		w.lists, w.statuses = true, true
	case equalFold(name, "STATUS"):
		w.statuses = true
	case equalFold(name, "SEARCH"):
		w.searches = true
	case equalFold(name, "ENABLE"), equalFold(name, "NAMESPACE"), equalFold(name, "GETQUOTA"), equalFold(name, "GETQUOTAROOT"):
		w.others = true
	}
	return w
}

// trailingLiteral reports the literal that a command line announces at its end,
// and whether it waits for a continuation request.
func trailingLiteral(line []byte) (n int64, sync, ok bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return 0, false, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false, false
	}
	s := segment{b: line, i: open}
	n, ok = s.literal()
	return n, ok && line[len(line)-2] != '+' && line[len(line)-2] != '-', ok
}
