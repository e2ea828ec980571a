package dedupe

import (
	"bytes"
	"strings"
)

// headKeeper finds the end of a header in a stream and keeps its first
// maxHeader octets, with every \r*\n as LF. A CR that no LF follows stays.
type headKeeper struct {
	octets  []byte
	cr      int64 // CRs held back: whether they belong to a line end is not known yet
	content bool  // the line so far holds more than CRs
	over    bool  // the header is longer than maxHeader
	ended   bool  // the empty line has been seen
}

func (k *headKeeper) reset() { *k = headKeeper{octets: k.octets[:0]} }

// write takes octets up to and including the empty line and returns how many
// it took.
func (k *headKeeper) write(p []byte) int {
	taken := 0
	for taken < len(p) {
		line := p[taken:]
		end := bytes.IndexByte(line, '\n')
		if end >= 0 {
			line = line[:end]
		}
		text := bytes.TrimRight(line, "\r")
		if len(text) > 0 {
			k.content = true
			k.addCRs()
			k.add(text)
		}
		k.cr += int64(len(line) - len(text))
		if end < 0 {
			return len(p)
		}
		taken += end + 1
		k.cr = 0
		if !k.content {
			k.ended = true
			replaceNUL(k.octets)
			return taken
		}
		k.add(crlfs[1:2])
		k.content = false
	}
	return taken
}

func (k *headKeeper) addCRs() {
	for ; k.cr > 0 && !k.over; k.cr-- {
		k.add(crs[:1])
	}
	k.cr = 0
}

func (k *headKeeper) add(p []byte) {
	if room := maxHeader - len(k.octets); len(p) > room {
		p = p[:room]
		k.over = true
	}
	k.octets = append(k.octets, p...)
}

// ScanHead returns the Head of a message that begins with octets: its header,
// or the message or a part of it. It reads up to the first empty line and at
// most 256 KiB, and does not change octets.
//
// Every message has a Head. A byte order mark, mbox From_ lines and lines that
// are no fields are passed over; octets above 0x7F are taken as they are, NUL
// as 0x80. A field's name may be in any case and have white space before its
// colon (RFC 5322 §4.5). Of several fields with one name the first one counts,
// but of several Received fields the first whose date can be read, so that a
// hop without a date does not hide the day of arrival.
func ScanHead(octets []byte) Head {
	var k headKeeper
	k.write(octets)
	h, _, _ := scanHead(k.octets, nil)
	return h
}

// contentNames are the fields that count for Content, in its order.
var contentNames = [...]string{"from", "to", "cc", "subject", "date", "message-id", "content-type", "content-transfer-encoding"}

const (
	idFrom = iota
	idTo
	idCc
	idSubject
	idDate
	idMessageID
	idContentType
	idContentTransferEncoding
	idReceived
	idOther
)

// span is the value of a field: octets[from:to] of the kept header, folded.
type span struct{ id, from, to int32 }

// scanHead scans a header kept by a headKeeper. It replaces NULs in octets,
// appends the fields that count for Content to fields, and returns what begins
// with the first line that is no field, or nil.
func scanHead(octets []byte, fields []span) (h Head, all []span, rest []byte) {
	replaceNUL(octets)
	var seen [idOther]bool
	dated := false
	pos := 0
	if bytes.HasPrefix(octets, []byte("\xEF\xBB\xBF")) {
		pos = 3
	}
	top := true
	for pos < len(octets) {
		end := fieldEnd(octets, pos)
		id, colon := fieldName(octets[pos:end])
		switch {
		case id < 0 && top && isFromLine(octets[pos:end]):
			// A From_ line has no continuation lines, but what looks like one
			// belongs to no field either.
		case id < 0:
			if rest == nil {
				rest = octets[pos:]
			}
			top = false
		default:
			top = false
			value := octets[pos+colon+1 : end]
			if id < idReceived {
				fields = append(fields, span{int32(id), int32(pos + colon + 1), int32(end)})
			}
			if id == idReceived && !dated {
				text := unfold(value)
				_, dated = receivedDate(text)
				if dated || !seen[id] {
					h.Received = text
				}
				seen[id] = true
			}
			if id < idOther && !seen[id] {
				seen[id] = true
				h.set(id, value)
			}
		}
		pos = end
	}
	return h, fields, rest
}

func (h *Head) set(id int, value []byte) {
	switch id {
	case idFrom:
		h.From = unfold(value)
	case idTo:
		h.To = unfold(value)
	case idCc:
		h.Cc = unfold(value)
	case idSubject:
		h.Subject = unfold(value)
	case idDate:
		h.Date = unfold(value)
	case idMessageID:
		h.MessageID = NormalizeMessageID(string(value))
	}
}

// fieldEnd returns the end of the line at pos and the lines that continue it.
func fieldEnd(octets []byte, pos int) int {
	for {
		i := bytes.IndexByte(octets[pos:], '\n')
		if i < 0 {
			return len(octets)
		}
		pos += i + 1
		if pos == len(octets) || octets[pos] != ' ' && octets[pos] != '\t' {
			return pos
		}
	}
}

// fieldName returns which field a line is and where its colon stands, or a
// negative id if the line is no field (RFC 5322 §2.2, and §4.5 for white space
// before the colon).
func fieldName(line []byte) (id, colon int) {
	colon = bytes.IndexByte(line, ':')
	if colon < 0 {
		return -1, -1
	}
	name := bytes.TrimRight(line[:colon], " \t")
	if len(name) == 0 {
		return -1, -1
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7F {
			return -1, -1
		}
	}
	for i, n := range contentNames {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return i, colon
		}
	}
	if len(name) == len("received") && strings.EqualFold("received", string(name)) {
		return idReceived, colon
	}
	return idOther, colon
}

// isFromLine reports whether line is an mbox From_ line, or a quoted one.
func isFromLine(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From "))
}

// unfold removes the line ends of a folded value (RFC 5322 §2.2.3) and the
// white space at both ends, and changes nothing else.
func unfold(value []byte) string {
	value = bytes.Trim(value, " \t\n")
	if bytes.IndexByte(value, '\n') < 0 {
		return string(value)
	}
	return string(bytes.ReplaceAll(value, []byte("\n"), nil))
}

// appendCollapsed appends the unfolded value with each run of white space made
// one space and none at either end. Relays that fold anew put the line end
// elsewhere and write a tab for a space, or the reverse.
func appendCollapsed(dst, value []byte) []byte {
	start := len(dst)
	space := false
	for _, c := range value {
		if c == ' ' || c == '\t' || c == '\n' {
			space = true
			continue
		}
		if space && len(dst) > start {
			dst = append(dst, ' ')
		}
		space = false
		dst = append(dst, c)
	}
	return dst
}

// maxMessageID is the longest Message-ID that is told apart: a line of mail
// has at most 998 octets (RFC 5322 §2.1.1).
const maxMessageID = 998

// NormalizeMessageID returns the form in which a Message-ID is compared and
// looked up, or "" if raw holds none. Its definition belongs to Version.
//
// It is what stands between the first "<" and the next ">"; if there is no
// such ">", the first word after the "<"; if there is no "<", the first word.
// White space, ASCII control characters and further angle brackets within it
// are removed, NUL becomes 0x80, and what exceeds 998
// octets is cut off. Case and octets above 0x7F are kept: RFC 5322 §3.6.4
// gives an id no meaning beyond being equal or not. The angle brackets are
// not part of the result, so that what a person pastes is found either way.
//
// NormalizeMessageID(NormalizeMessageID(s)) is NormalizeMessageID(s).
func NormalizeMessageID(raw string) string {
	id, open := raw, false
	if i := strings.IndexByte(id, '<'); i >= 0 {
		id, open = strings.TrimLeft(id[i:], "< \t\r\n"), true
	}
	if i := strings.IndexByte(id, '>'); open && i >= 0 {
		id = id[:i]
	} else {
		id = strings.TrimLeft(id, " \t\r\n")
		if i := strings.IndexAny(id, " \t\r\n"); i >= 0 {
			id = id[:i]
		}
	}
	b := make([]byte, 0, min(len(id), maxMessageID))
	for i := 0; i < len(id) && len(b) < maxMessageID; i++ {
		switch c := id[i]; {
		case c == 0:
			b = append(b, 0x80)
		case c > ' ' && c != 0x7F && c != '<' && c != '>':
			b = append(b, c)
		}
	}
	return string(b)
}
