package fetchtest

import (
	"bytes"
	"strings"
)

// HeaderEnd returns the length of the header of a message: all octets up to and
// including the first empty line, whether lines end in CRLF or LF. If there is
// no empty line it returns len(octets) and false.
func HeaderEnd(octets []byte) (int, bool) {
	for at := 0; at < len(octets); {
		n := bytes.IndexByte(octets[at:], '\n')
		if n < 0 {
			break
		}
		line := octets[at : at+n]
		at += n + 1
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return at, true
		}
	}
	return len(octets), false
}

// AsPOP3 returns the octets that a POP3 client receives for a message: the same
// octets, with a final CRLF if there was none, because every line of a
// multi-line response ends in one (RFC 1939 §3). An empty message stays empty.
func AsPOP3(octets []byte) []byte {
	if len(octets) == 0 || bytes.HasSuffix(octets, []byte("\r\n")) {
		return octets
	}
	return append(bytes.Clone(octets), "\r\n"...)
}

// A headerField is one header field as it stands, continuation lines and line
// ends included. A line that is no field (no colon, the From_ line of an mbox)
// has an empty name.
type headerField struct {
	name   string // lower case
	octets []byte
}

// headerFields splits a header into its fields; joined they are the header
// without its empty line.
func headerFields(header []byte) []headerField {
	var fields []headerField
	for len(header) > 0 {
		line := header
		if n := bytes.IndexByte(header, '\n'); n >= 0 {
			line = header[:n+1]
		}
		header = header[len(line):]
		switch {
		case len(bytes.TrimRight(line, "\r\n")) == 0:
			return fields
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			last := &fields[len(fields)-1]
			last.octets = append(last.octets[:len(last.octets):len(last.octets)], line...)
		default:
			name, _, ok := bytes.Cut(line, []byte(":"))
			f := headerField{octets: line}
			if ok {
				f.name = strings.ToLower(string(bytes.TrimRight(name, " \t")))
			}
			fields = append(fields, f)
		}
	}
	return fields
}

// value returns the field's unfolded value.
func (f headerField) value() []byte {
	_, v, _ := bytes.Cut(f.octets, []byte(":"))
	v = bytes.ReplaceAll(v, []byte("\r"), nil)
	return bytes.TrimSpace(bytes.ReplaceAll(v, []byte("\n"), nil))
}
