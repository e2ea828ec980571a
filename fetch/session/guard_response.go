package session

import (
	"bytes"
	"strconv"
)

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

func syntaxError(reason string) error { return failure(ClassProtocol, reason, nil) }

// response reads one response and appends what the library shall see of it to
// g.out, which may be nothing. If it has a body, it returns when the body's turn
// has come.
func (g *guard) response() error {
	if !g.early {
		g.spent, g.limit = 0, guardTextMax
		var err error
		if g.first, err = g.line(); err != nil {
			return err
		}
	}
	// What is ready to be read must be read first: the library may be waiting for
	// it before it goes on.
	if g.early = !g.turn(len(g.out) == 0); g.early {
		return nil
	}
	b := g.first
	w := g.wanted() // not before: the command may have been sent while the line was waited for
	g.seg = segment{b: b}
	g.seg.spaces()
	switch c := g.seg.peek(); {
	case g.seg.end():
		// QUIRK(several): blank lines between responses.
		return g.drop("", b)
	case c == '+':
		return g.continuation()
	case c == '*':
		g.seg.i++
		g.seg.spaces()
		return g.untagged(w)
	}
	return g.tagged()
}

func (g *guard) continuation() error {
	g.mu.Lock()
	expected := g.conts > 0
	if expected {
		g.conts--
	}
	g.mu.Unlock()
	if !expected {
		// QUIRK(several): a continuation request nobody waits for.
		return g.drop("+", g.seg.b)
	}
	g.emit([]byte("+ "))
	g.out = appendText(g.out, g.seg.b[g.seg.i+1:])
	g.out = append(g.out, "\r\n"...)
	return nil
}

// emit begins a response that is handed on.
func (g *guard) emit(p []byte) {
	g.wasted = 0
	g.out = append(g.out, p...)
}

// chatter is emit for what no command waits for: it may not go on for ever.
func (g *guard) chatter(p string) error {
	g.wasted += g.spent
	if g.wasted > guardDropMax {
		return syntaxError("response-flood")
	}
	g.out = append(g.out, p...)
	return nil
}

func (g *guard) tagged() error {
	tag := g.seg.upToSpace()
	g.seg.spaces()
	status := g.seg.word()
	var kind string
	switch {
	case equalFold(status, "OK"):
		kind = "OK"
	case equalFold(status, "NO"):
		kind = "NO"
	case equalFold(status, "BAD"):
		kind = "BAD"
	default:
		return syntaxError("response-garbage")
	}
	cmd, known := g.completed(tag)
	if !known || cmd.ours || cmd.ahead == waiting || cmd.ahead == forgotten {
		return g.drop("tagged", g.seg.b)
	}
	if cmd.ahead == claimed {
		tag = []byte(cmd.as)
	}
	g.dates = nil
	g.emit(tag)
	g.out = append(g.out, ' ')
	g.condition(kind)
	return nil
}

func (g *guard) untagged(w wants) error {
	number, numbered := uint64(0), false
	if c := g.seg.peek(); c >= '0' && c <= '9' {
		number, numbered = g.seg.number(1<<32 - 1)
		if !numbered {
			// QUIRK(hostile): a sequence number of more than 32 bits. It is never
			// looked at, the UID counts.
			number, numbered = 1, true
		}
		g.seg.spaces()
	}
	kind := g.seg.word()
	if w.unclaimed && !equalFold(kind, "BYE") {
		return g.unclaimed(kind, numbered)
	}
	if numbered {
		return g.numbered(w, uint32(number), kind)
	}
	switch {
	case equalFold(kind, "LIST"):
		if w.lists {
			return g.list()
		}
	case equalFold(kind, "STATUS"):
		if w.statuses {
			return g.status()
		}
	case equalFold(kind, "OK"), equalFold(kind, "PREAUTH"):
		return g.remark("OK")
	case equalFold(kind, "NO"):
		return g.remark("NO")
	case equalFold(kind, "BAD"):
		return g.remark("BAD")
	case equalFold(kind, "BYE"):
		return g.remark("BYE")
	case equalFold(kind, "FLAGS"):
		return g.flags()
	case equalFold(kind, "SEARCH"):
		if w.searches {
			return g.search()
		}
	case equalFold(kind, "ESEARCH"):
		if w.searches {
			return g.asItIs()
		}
	case equalFold(kind, "ENABLED"), equalFold(kind, "NAMESPACE"), equalFold(kind, "QUOTA"), equalFold(kind, "QUOTAROOT"):
		if w.others {
			return g.asItIs()
		}
	}
	return g.skipResponse(string(kind))
}

// remark hands on an untagged status response.
func (g *guard) remark(kind string) error {
	if err := g.chatter("* "); err != nil {
		return err
	}
	g.condition(kind)
	return nil
}

// skipResponse drops the rest of a response, with its literals.
func (g *guard) skipResponse(kind string) error {
	first := g.seg.b
	if g.dropped != nil {
		first = bytes.Clone(first)
	}
	for {
		open := bytes.LastIndexByte(g.seg.b, '{')
		if open < 0 {
			break
		}
		g.seg.i = open
		n, ok := g.seg.literal()
		if !ok {
			break
		}
		if _, err := g.smallLiteral(n); err != nil {
			return err
		}
	}
	return g.drop(kind, first)
}

func (g *guard) numbered(w wants, n uint32, kind []byte) error {
	switch {
	case equalFold(kind, "FETCH"):
		return g.fetched(w, n)
	case equalFold(kind, "EXISTS"):
		return g.count(n, " EXISTS\r\n")
	case equalFold(kind, "EXPUNGE"):
		return g.count(n, " EXPUNGE\r\n")
	}
	return g.skipResponse(string(kind))
}

func (g *guard) count(n uint32, kind string) error {
	if err := g.chatter("* "); err != nil {
		return err
	}
	g.out = appendInt(g.out, int64(n))
	g.out = append(g.out, kind...)
	return nil
}

// asItIs hands on a response of a kind the library asked for itself, but for
// trailing spaces.
func (g *guard) asItIs() error {
	g.emit(nil)
	for {
		line := bytes.TrimRight(g.seg.b, " ")
		g.out = append(g.out, line...)
		g.out = append(g.out, "\r\n"...)
		open := bytes.LastIndexByte(line, '{')
		if open < 0 {
			return nil
		}
		g.seg.i = open
		n, ok := g.seg.literal()
		if !ok {
			return nil
		}
		lit, err := g.smallLiteral(n)
		if err != nil {
			return err
		}
		g.out = append(g.out, lit...)
	}
}

// flags hands on an untagged FLAGS response.
func (g *guard) flags() error {
	err := g.chatter("* FLAGS ")
	if err != nil {
		return err
	}
	if g.out, err = g.flagList(g.out, false); err != nil {
		return err
	}
	g.out = append(g.out, "\r\n"...)
	return nil
}

// flagList reads a list of flags, or of a mailbox's attributes, and appends it
// to dst.
func (g *guard) flagList(dst []byte, attributes bool) ([]byte, error) {
	g.seg.spaces()
	if g.seg.isNIL() {
		return append(dst, "()"...), nil
	}
	dst = append(dst, '(')
	first := true
	add := func(raw []byte) {
		switch {
		case len(raw) == 0, len(raw) == 7 && equalFold(raw, `\RECENT`):
			// \Recent is about this session, not about the message (RFC 3501 §2.3.2).
			return
		case attributes && !isAtom(bytes.TrimPrefix(raw, []byte{'\\'})):
			return // it could not be one that means something to us
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		dst = appendFlag(dst, raw)
	}
	if g.seg.peek() != '(' {
		// QUIRK(several): a single flag without parentheses.
		add(g.seg.token())
		return append(dst, ')'), nil
	}
	g.seg.i++
	for {
		g.seg.spaces()
		switch c := g.seg.peek(); {
		case g.seg.end():
			return dst, syntaxError("flags-syntax")
		case c == ')':
			g.seg.i++
			return append(dst, ')'), nil
		case c == '"':
			// QUIRK(several): quoted keywords.
			add(g.seg.quoted(nil))
		case c == '{':
			n, ok := g.seg.literal()
			if !ok || g.br == nil { // in a response code nothing is a literal
				add(g.seg.token())
				continue
			}
			lit, err := g.smallLiteral(n)
			if err != nil {
				return dst, err
			}
			add(lit)
		default:
			add(g.seg.token())
		}
	}
}

// search hands on the numbers of a SEARCH response.
func (g *guard) search() error {
	g.emit([]byte("* SEARCH"))
	for {
		g.seg.spaces()
		if g.seg.end() || g.seg.peek() == '(' {
			break // what follows is MODSEQ (RFC 7162 §3.1.5), which nobody asks for
		}
		if n, ok := g.seg.number(1<<32 - 1); ok && n > 0 {
			g.out = append(g.out, ' ')
			g.out = strconv.AppendUint(g.out, n, 10)
		}
		g.seg.upToSpace()
	}
	g.out = append(g.out, "\r\n"...)
	return nil
}
