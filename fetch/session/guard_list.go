package session

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// list hands on a LIST response without its extended data (RFC 5258 §6).
func (g *guard) list() error {
	g.emit(nil)
	g.out = append(g.out, "* LIST "...)
	mark := len(g.out)
	var err error
	if g.out, err = g.flagList(g.out, true); err != nil {
		return err
	}
	delimiter, err := g.delimiter()
	if err != nil {
		return err
	}
	g.out = append(g.out, ' ')
	g.out = append(g.out, delimiter...)
	g.out = append(g.out, ' ')
	g.seg.spaces()
	name, err := g.mailboxName()
	if err != nil {
		return err
	}
	if len(name) == 0 {
		g.out = g.out[:mark-len("* LIST ")]
		return g.drop("LIST", g.seg.b)
	}
	g.out = appendMailbox(g.out, name)
	g.out = append(g.out, "\r\n"...)
	return nil
}

// delimiter reads a hierarchy delimiter and returns it as a quoted string, or
// NIL for everything that is not one character.
func (g *guard) delimiter() ([]byte, error) {
	g.seg.spaces()
	if g.seg.isNIL() {
		return []byte("NIL"), nil
	}
	var raw []byte
	rest := g.seg.rest()
	n, isLiteral := g.seg.literal()
	switch {
	case isLiteral:
		lit, err := g.smallLiteral(n)
		if err != nil {
			return nil, err
		}
		raw = lit
	case bytes.HasPrefix(rest, []byte(`"\" `)):
		// QUIRK(several on Windows): the backslash is the delimiter and is not
		// escaped.
		g.seg.i += 3
		raw = []byte{'\\'}
	case len(rest) > 0 && rest[0] == '"':
		raw = g.seg.quoted(nil)
	default:
		raw = g.seg.upToSpace()
	}
	if r, size := utf8.DecodeRune(raw); size == 0 || size != len(raw) || r == utf8.RuneError || r < 0x20 {
		return []byte("NIL"), nil
	}
	return appendQuoted(nil, raw), nil
}

// mailboxName reads the name in a LIST response, which has whatever extended
// data there is behind it.
func (g *guard) mailboxName() ([]byte, error) {
	if n, ok := g.seg.literal(); ok {
		return g.smallLiteral(n)
	}
	if g.seg.peek() == '"' {
		return g.seg.quotedName(nil), nil
	}
	// QUIRK(several): names with spaces and other specials that are not quoted.
	name := bytes.TrimRight(g.seg.rest(), " ")
	if i := bytes.Index(name, []byte(` ("`)); i > 0 && name[len(name)-1] == ')' {
		name = bytes.TrimRight(name[:i], " ")
	}
	return name, nil
}

// statusItems are the items of a STATUS response that are handed on, with the
// largest number the library takes.
var statusItems = []struct {
	name  string
	limit uint64
}{
	{"MESSAGES", 1<<32 - 1},
	{"UIDNEXT", 1<<32 - 1},
	{"UIDVALIDITY", 1<<32 - 1},
	{"UNSEEN", 1<<32 - 1},
	{"DELETED", 1<<32 - 1},
	{"SIZE", 1<<63 - 1},
	{"HIGHESTMODSEQ", 1<<64 - 1},
}

// status hands on a STATUS response with the items that are numbers as they
// should be.
func (g *guard) status() error {
	g.seg.spaces()
	var name []byte
	n, isLiteral := g.seg.literal()
	switch {
	case isLiteral:
		lit, err := g.smallLiteral(n)
		if err != nil {
			return err
		}
		name = lit
	case g.seg.peek() == '"':
		name = g.seg.quotedName(nil)
	default:
		rest := g.seg.rest()
		open := bytes.LastIndexByte(rest, '(')
		if open < 0 {
			return g.drop("STATUS", g.seg.b)
		}
		name = bytes.TrimRight(rest[:open], " ")
		g.seg.i += open
	}
	g.seg.spaces()
	if g.seg.peek() != '(' {
		return g.drop("STATUS", g.seg.b)
	}
	g.seg.i++
	g.emit([]byte("* STATUS "))
	g.out = appendMailbox(g.out, name)
	g.out = append(g.out, " ("...)
	first := true
	for {
		g.seg.spaces()
		if g.seg.end() || g.seg.peek() == ')' {
			break
		}
		item := g.seg.word()
		g.seg.spaces()
		v, ok := g.seg.number(1<<64 - 1)
		if c := g.seg.peek(); !ok || c != ' ' && c != ')' && c != 0 {
			if err := g.skipValue(); err != nil {
				return err
			}
			continue
		}
		for _, known := range statusItems {
			if equalFold(item, known.name) && v <= known.limit {
				if !first {
					g.out = append(g.out, ' ')
				}
				first = false
				g.out = append(g.out, known.name...)
				g.out = append(g.out, ' ')
				g.out = strconv.AppendUint(g.out, v, 10)
			}
		}
	}
	g.out = append(g.out, ")\r\n"...)
	return nil
}
