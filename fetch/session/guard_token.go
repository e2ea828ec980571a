package session

import "bytes"

// segment is the part of a response that is on one line: from its beginning or
// from the end of a literal to the next line end.
type segment struct {
	b []byte
	i int
}

func (s *segment) rest() []byte { return s.b[s.i:] }

func (s *segment) end() bool { return s.i >= len(s.b) }

// peek returns the next octet, 0 at the end.
func (s *segment) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *segment) spaces() {
	for s.i < len(s.b) && s.b[s.i] == ' ' {
		s.i++
	}
}

// word returns the octets up to a space, a parenthesis or a bracket.
func (s *segment) word() []byte {
	from := s.i
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '(', ')', '[', '"', '{':
			return s.b[from:s.i]
		}
		s.i++
	}
	return s.b[from:]
}

// token returns the octets up to a space or a closing parenthesis.
func (s *segment) token() []byte {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] != ' ' && s.b[s.i] != ')' {
		s.i++
	}
	return s.b[from:s.i]
}

// upToSpace returns the octets up to a space.
func (s *segment) upToSpace() []byte {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] != ' ' {
		s.i++
	}
	return s.b[from:s.i]
}

// number reads decimal digits; ok is false if there are none or the number is
// over limit.
func (s *segment) number(limit uint64) (n uint64, ok bool) {
	from, over := s.i, false
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		d := uint64(s.b[s.i] - '0')
		if n > (limit-d)/10 {
			over = true
		}
		n = n*10 + d
		s.i++
	}
	if s.i == from || over {
		return 0, false
	}
	return n, true
}

// quoted reads a quoted string whose opening quote is next, and appends its
// octets to dst. A string that does not end goes on to the end of the line.
func (s *segment) quoted(dst []byte) []byte {
	s.i++
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch c {
		case '"':
			return dst
		case '\\':
			if s.i < len(s.b) {
				dst = append(dst, s.b[s.i])
				s.i++
			}
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// quotedName is quoted for a mailbox name, which is followed by the end of the
// line or by a list.
//
// QUIRK(several): quotes and backslashes inside quoted names are not escaped;
// a backslash is dropped only where it has to be there.
func (s *segment) quotedName(dst []byte) []byte {
	s.i++
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			behind := bytes.TrimLeft(s.b[s.i:], " ")
			if len(behind) == 0 || behind[0] == '(' {
				return dst
			}
			dst = append(dst, c)
		case c == '\\' && s.i < len(s.b) && (s.b[s.i] == '\\' || s.b[s.i] == '"' && s.i+1 < len(s.b)):
			dst = append(dst, s.b[s.i])
			s.i++
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// literal reads the announcement of a literal, {n}, {n+} or ~{n}, which must be
// the last thing on the line (RFC 3501 §4.3, RFC 3516 §4.2).
func (s *segment) literal() (n int64, ok bool) {
	i := s.i
	if i < len(s.b) && s.b[i] == '~' {
		i++
	}
	if i >= len(s.b) || s.b[i] != '{' {
		return 0, false
	}
	t := segment{b: s.b, i: i + 1}
	v, ok := t.number(1 << 62)
	if !ok {
		return 0, false
	}
	if c := t.peek(); c == '+' || c == '-' {
		t.i++
	}
	if t.peek() != '}' {
		return 0, false
	}
	t.i++
	t.spaces()
	if !t.end() {
		return 0, false
	}
	s.i = len(s.b)
	return int64(v), true
}

// isNIL reports whether the next token is NIL in any case, and reads it.
func (s *segment) isNIL() bool {
	if r := s.rest(); len(r) >= 3 && equalFold(r[:3], "NIL") && (len(r) == 3 || r[3] == ' ' || r[3] == ')') {
		s.i += 3
		return true
	}
	return false
}

// equalFold reports whether b is the upper-case ASCII string s in any case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// atomChar holds the octets the library takes for part of an atom, ASCII only.
var atomChar = func() (t [256]bool) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = true
	}
	for _, c := range `(){%*"\]` {
		t[c] = false
	}
	return t
}()

func isAtom(b []byte) bool {
	for _, c := range b {
		if !atomChar[c] {
			return false
		}
	}
	return len(b) > 0
}

// appendQuoted appends b as a quoted string. b has no CR, LF or NUL.
func appendQuoted(dst, b []byte) []byte {
	dst = append(dst, '"')
	for _, c := range b {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendUpper appends b with ASCII letters in upper case.
func appendUpper(dst, b []byte) []byte {
	for _, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
