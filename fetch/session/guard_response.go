package session

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

func syntaxError(reason string) error { return failure(ClassProtocol, reason, nil) }

// response reads one response and appends what the library shall see of it to
// g.out, which may be nothing. If it has a body, it returns when the body's turn
// has come.
func (g *guard) response() error {
	g.spent, g.limit = 0, guardTextMax
	b, err := g.line()
	if err != nil {
		return err
	}
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
	if !known || cmd.ours {
		return g.drop("tagged", g.seg.b)
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

// condition hands on the rest of a status response (RFC 3501 §7.1), whose
// condition has been read, with the response codes the library understands.
func (g *guard) condition(kind string) {
	code, args, text := splitCondition(g.seg.rest())
	g.heard(kind, code, text)
	g.out = append(g.out, kind...)
	start := len(g.out)
	switch code {
	case "", "CAPABILITY":
		// The library works with the capabilities it was given.
	case "UIDNEXT", "UIDVALIDITY":
		g.codeWithNumber(code, args, 1<<32-1)
	case "HIGHESTMODSEQ":
		g.codeWithNumber(code, args, 1<<64-1)
	case "PERMANENTFLAGS":
		inner := guard{seg: segment{b: args}, limit: guardTextMax}
		if list, err := inner.flagList(nil, false); err == nil {
			g.out = append(g.out, " [PERMANENTFLAGS "...)
			g.out = append(g.out, list...)
			g.out = append(g.out, ']')
		}
	case "APPENDUID", "COPYUID":
		if isUIDCode(code, args) {
			g.out = append(g.out, " ["+code+" "...)
			g.out = append(g.out, args...)
			g.out = append(g.out, ']')
		}
	default:
		if isAtom([]byte(code)) {
			g.out = append(g.out, " ["+code+"]"...)
		}
	}
	if len(text) > 0 {
		if len(g.out) == start && text[0] == '[' {
			// Not a response code, whatever it looks like.
			g.out = append(g.out, ' ')
		}
		g.out = append(g.out, ' ')
		g.out = appendText(g.out, text)
	}
	g.out = append(g.out, "\r\n"...)
}

func (g *guard) codeWithNumber(code string, args []byte, limit uint64) {
	s := segment{b: args}
	if n, ok := s.number(limit); ok && n > 0 && s.end() {
		g.out = append(g.out, " ["+code+" "...)
		g.out = strconv.AppendUint(g.out, n, 10)
		g.out = append(g.out, ']')
	}
}

// isUIDCode reports whether args are those of APPENDUID, uidvalidity and a UID,
// or of COPYUID, uidvalidity and two sets (RFC 4315 §4).
func isUIDCode(code string, args []byte) bool {
	fields := bytes.Split(args, []byte{' '})
	if code == "APPENDUID" {
		return len(fields) == 2 && isUIDs(fields[0], 0) && isUIDs(fields[1], 0)
	}
	return len(fields) == 3 && isUIDs(fields[0], 0) && isUIDs(fields[1], ',') && isUIDs(fields[2], ',')
}

// isUIDs reports whether b is a number, or numbers and ranges with sep between
// them if sep is not 0.
func isUIDs(b []byte, sep byte) bool {
	s := segment{b: b}
	for {
		if n, ok := s.number(1<<32 - 1); !ok || n == 0 {
			return false
		}
		if sep != 0 && s.peek() == ':' {
			s.i++
			if n, ok := s.number(1<<32 - 1); !ok || n == 0 {
				return false
			}
		}
		if s.end() {
			return true
		}
		if sep == 0 || s.peek() != sep {
			return false
		}
		s.i++
	}
}

// splitCondition takes apart what follows OK, NO, BAD, BYE or PREAUTH: the
// response code in upper case, its arguments, and the text.
func splitCondition(b []byte) (code string, args, text []byte) {
	b = bytes.Trim(b, " ")
	if len(b) == 0 || b[0] != '[' {
		return "", nil, b
	}
	s := segment{b: b, i: 1}
	s.spaces()
	from := s.i
	for !s.end() && s.peek() != ' ' && s.peek() != ']' {
		s.i++
	}
	code = string(appendUpper(nil, b[from:s.i]))
	end := bytes.IndexByte(b[s.i:], ']')
	if code == "PERMANENTFLAGS" {
		// QUIRK(several): keywords with a bracket in them.
		if i := bytes.Index(b[s.i:], []byte(")]")); i >= 0 {
			end = i + 1
		}
	}
	if end < 0 {
		return "", nil, b
	}
	end += s.i
	return code, bytes.Trim(b[s.i:end], " "), bytes.TrimLeft(b[end+1:], " ")
}

// appendText appends text that may have a stray CR in it.
func appendText(dst, text []byte) []byte {
	for _, c := range text {
		if c == '\r' || c == '\n' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst
}

// heard keeps what the server said in words.
func (g *guard) heard(kind, code string, text []byte) {
	alert := code == "ALERT"
	if kind == "OK" && !alert {
		return
	}
	said := string(text[:min(len(text), guardTextKept)])
	g.mu.Lock()
	defer g.mu.Unlock()
	if alert {
		g.words.alert = said
	}
	switch kind {
	case "BYE":
		g.words.saidBye, g.words.bye, g.words.byeCode = true, said, code
	case "NO", "BAD":
		g.words.no = said
	}
}

// said returns what the server said in words so far.
func (g *guard) said() guardWords {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.words
}
