package session

import (
	"bytes"
	"strconv"
)

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
