// Package mbox reads, writes and locks mailbox files in the mboxrd format.
//
// An mbox is a row of entries. Each begins with a From_ line, "From ", the
// envelope sender, a blank and a date in asctime form (UTC), then the message,
// and ends with one empty line. A line of the message that begins with any
// number of '>' and "From " gets one more '>' (mboxrd), so no line of a message
// is ever taken for a From_ line, and taking one '>' off again restores each
// octet. Lines end with LF; CR is an octet like any other.
//
// "Stored octets" are a message as the archive wants it kept (its line ends
// already chosen); "quoted" are the same with the '>' added. A message whose
// last octet is not LF gets one (addedEOL), because the empty line must stand
// alone; who wrote the entry has to remember that. For an entry whose offset,
// length and addedEOL are known, EntryBody gives back exactly what was stored.
// Scanner finds the entries of any mbox, also of one that another program wrote.
//
// Everything streams: no line and no message is ever held in memory as a whole,
// except by AppendEntry, which works on octets that already are.
//
// The package opens no mbox and decides nothing about syncing; it does not read
// the Content-Length variants (mboxcl, mboxcl2).
package mbox

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

// fromWord begins a From_ line.
const fromWord = "From "

// MaxSender bounds the sender in a line that FromLine makes, in octets: the
// longest path an envelope may carry (RFC 5321 §4.5.3.1.3).
const MaxSender = 256

var (
	firstDate = time.Unix(0, 0)
	lastDate  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// FromLine makes the From_ line of an entry, with its LF:
// "From SENDER Mon Jan _2 15:04:05 2006\n", the date in UTC.
//
// Angle brackets around sender are dropped; an octet that could not stand there
// (blank, control, 8-bit, quote, backslash) becomes '_'; what is longer than
// MaxSender is cut; an empty sender becomes MAILER-DAEMON. A date before 1970
// or after 9999, which readers take for another, becomes the nearest they read.
func FromLine(sender string, t time.Time) []byte {
	sender = strings.TrimSuffix(strings.TrimPrefix(sender, "<"), ">")
	safe := make([]byte, 0, len(fromWord)+MaxSender+len(time.ANSIC)+2)
	safe = append(safe, fromWord...)
	for i := range min(len(sender), MaxSender) {
		c := sender[i]
		// A lone quote or backslash makes mutt read on for its partner.
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			c = '_'
		}
		safe = append(safe, c)
	}
	// mutt takes a sender "Mon" for the date, and then no line for a From_ line.
	if s := safe[len(fromWord):]; len(s) == 0 || isName(s, weekdays) {
		safe = append(safe[:len(fromWord)], "MAILER-DAEMON"...)
	}
	if t.Before(firstDate) {
		t = firstDate
	}
	if t.After(lastDate) {
		t = lastDate
	}
	safe = append(safe, ' ')
	safe = t.UTC().AppendFormat(safe, time.ANSIC)
	return append(safe, '\n')
}

// AppendEntry appends an entry to dst: the From_ line from (with its LF, as
// FromLine makes it), the quoted octets of stored, an LF if the last octet
// stored is not one (addedEOL), and the empty line.
func AppendEntry(dst []byte, from []byte, stored []byte) (out []byte, addedEOL bool) {
	var q quoter
	dst = append(dst, from...)
	dst = q.append(dst, stored)
	dst = q.flush(dst)
	addedEOL = len(stored) > 0 && stored[len(stored)-1] != '\n'
	return appendEnd(dst, addedEOL), addedEOL
}

// WriteEntry writes to w what AppendEntry would append, reading stored as a
// stream. n counts the octets written, also if there is an error: of reading
// (what was written then is a torn entry) or of writing.
func WriteEntry(w io.Writer, from []byte, stored io.Reader) (n int64, addedEOL bool, err error) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	write := func(p []byte) error {
		m, err := w.Write(p)
		n += int64(m)
		if err == nil && m < len(p) {
			err = io.ErrShortWrite
		}
		return err
	}
	var q quoter
	in := window{r: stored, buf: b.in[:]}
	out := append(b.out[:0], from...)
	last := byte('\n')
	for len(in.peek(1)) > 0 {
		chunk := in.buffered()
		last = chunk[len(chunk)-1]
		out = q.append(out, chunk)
		in.skip(len(chunk))
		if err := write(out); err != nil {
			return n, false, err
		}
		out = out[:0]
	}
	b.out = out
	if err := in.failure(); err != nil {
		return n, false, err
	}
	out = q.flush(out)
	addedEOL = last != '\n'
	out = appendEnd(out, addedEOL)
	b.out = out
	return n, addedEOL, write(out)
}

func appendEnd(dst []byte, addEOL bool) []byte {
	if addEOL {
		dst = append(dst, '\n')
	}
	return append(dst, '\n')
}

type buffer struct {
	in  [windowSize]byte
	out []byte
}

var buffers = sync.Pool{New: func() any { return &buffer{out: make([]byte, 0, windowSize+windowSize/4)} }}

// quoter puts one '>' before each "From " that stands at the beginning of a
// line or after nothing but '>'. Where in the run of '>' the new one goes makes
// no difference, so it need not know how long the run is.
type quoter struct {
	inLine  bool // past the point where "From " would matter
	matched int  // octets of fromWord seen and not yet given out
}

func (q *quoter) append(dst, src []byte) []byte {
	for len(src) > 0 {
		switch {
		case q.inLine:
			i := bytes.IndexByte(src, '\n')
			if i < 0 {
				return append(dst, src...)
			}
			dst = append(dst, src[:i+1]...)
			src = src[i+1:]
			q.inLine = false
		case q.matched == 0 && src[0] == '>':
			dst = append(dst, '>')
			src = src[1:]
		case src[0] == fromWord[q.matched]:
			src = src[1:]
			if q.matched++; q.matched == len(fromWord) {
				dst = append(dst, ">"+fromWord...)
				q.matched, q.inLine = 0, true
			}
		default:
			dst = q.flush(dst)
			q.inLine = true
		}
	}
	return dst
}

// flush gives out what was held back, at the end of the octets.
func (q *quoter) flush(dst []byte) []byte {
	dst = append(dst, fromWord[:q.matched]...)
	q.matched = 0
	return dst
}
