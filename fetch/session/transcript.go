package session

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// masks holds the forms in which a session's secrets may appear in octets or
// text that leave the session. It is safe for concurrent use.
type masks struct {
	mu    sync.RWMutex
	forms []string // longest first, so that no form hides the rest of another
}

const masked = "***"

// add registers secrets in plain, in quoted-string and in base64 form; the
// latter at each of the three alignments, because a secret is usually a part of
// what a SASL mechanism encodes.
func (m *masks) add(secrets ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secrets {
		if s == "" {
			continue
		}
		m.put(s)
		m.put(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s))
		m.put(base64.StdEncoding.EncodeToString([]byte(s)))
		for pad := range 3 {
			enc := base64.StdEncoding.EncodeToString(append(make([]byte, pad), s...))
			from := (pad*8 + 5) / 6       // characters that the octets before it touch
			to := (pad + len(s)) * 8 / 6  // characters that the octets after it touch
			if from < to && to-from > 3 { // shorter ones would blot out innocent text
				m.put(enc[from:to])
			}
		}
	}
	slices.SortFunc(m.forms, func(a, b string) int { return len(b) - len(a) })
}

func (m *masks) put(form string) {
	if !slices.Contains(m.forms, form) {
		m.forms = append(m.forms, form)
	}
}

func (m *masks) apply(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, f := range m.forms {
		s = strings.ReplaceAll(s, f, masked)
	}
	return s
}

const (
	transcriptLine    = 1 << 10  // octets written of one line
	transcriptPending = 64 << 10 // octets kept of one line until its end: longer than any secret
	transcriptBurst   = 16 << 10 // octets of lines written before the other side speaks again
	transcriptLiteral = 128      // literals above are counted, not written: they are mail
)

// transcript writes what both sides said as lines "C: …" and "S: …" with
// secrets masked. It never writes message bodies: literals and what body is told
// of are summarised as "[N octets]".
type transcript struct {
	mu       sync.Mutex
	w        io.Writer
	m        *masks
	literals bool // an IMAP session: lines may announce literals
	side     [2]transcriptSide
}

type transcriptSide struct {
	line    []byte
	long    int64 // octets of this line beyond transcriptPending
	literal int64 // octets of a literal still to come, not to be written
	burst   int
	elided  int64 // octets left out and not yet reported
}

const (
	fromClient = 0
	fromServer = 1
)

var sideMark = [2]string{"C: ", "S: "}

// octets takes what side said, in pieces of any size.
func (t *transcript) octets(side int, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(side)
	s := &t.side[side]
	for len(p) > 0 {
		if s.literal > 0 {
			n := min(s.literal, int64(len(p)))
			s.literal -= n
			p = p[n:]
			continue
		}
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i+1]
		}
		p = p[len(part):]
		room := max(0, transcriptPending-len(s.line))
		s.line = append(s.line, part[:min(room, len(part))]...)
		s.long += int64(len(part) - min(room, len(part)))
		if i >= 0 {
			t.endLine(side)
		}
	}
}

// turn reports what was left out of the other side's words, now that it is
// silent.
func (t *transcript) turn(side int) {
	other := 1 - side
	t.reportElided(other)
	t.side[other].burst = 0
}

func (t *transcript) reportElided(side int) {
	if n := t.side[side].elided; n > 0 {
		t.side[side].elided = 0
		fmt.Fprintf(t.w, "%s[%d octets]\n", sideMark[side], n)
	}
}

func (t *transcript) endLine(side int) {
	s := &t.side[side]
	size := int64(len(s.line)) + s.long
	line := bytes.TrimRight(s.line, "\r\n")
	if s.burst > transcriptBurst {
		s.elided += size
	} else {
		s.burst += len(line)
		text := t.m.apply(string(line))
		if len(text) > transcriptLine {
			text = text[:transcriptLine] + " [" + strconv.FormatInt(size, 10) + " octets]"
		}
		io.WriteString(t.w, sideMark[side]+text+"\n")
	}
	if n := announcedLiteral(line); t.literals && n > transcriptLiteral {
		s.literal = n
		if s.burst > transcriptBurst {
			s.elided += n
		} else {
			fmt.Fprintf(t.w, "%s[%d octets]\n", sideMark[side], n)
		}
	}
	s.line, s.long = s.line[:0], 0
}

// body takes note of n octets of a message that side sent and that octets does
// not see.
func (t *transcript) body(side int, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(side)
	t.side[side].elided += n
	t.reportElided(side)
}

// flush writes what is pending, at the end of the session.
func (t *transcript) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for side := range t.side {
		if len(t.side[side].line) > 0 {
			t.endLine(side)
		}
		t.reportElided(side)
	}
}

// announcedLiteral returns the size of the literal that line announces at its
// end as {n}, {n+} or ~{n} (RFC 3501 §4.3, RFC 7888, RFC 3516), 0 if none.
func announcedLiteral(line []byte) int64 {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return 0
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0
	}
	digits := line[open+1 : len(line)-1]
	if n := len(digits); n > 0 && (digits[n-1] == '+' || digits[n-1] == '-') {
		digits = digits[:n-1]
	}
	n, err := strconv.ParseUint(string(digits), 10, 62)
	if err != nil {
		return 0
	}
	return int64(n)
}
