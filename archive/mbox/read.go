package mbox

import (
	"bytes"
	"io"
)

// windowSize is what a reader or writer of this package holds in memory.
const windowSize = 32 << 10

// maxEmptyReads is how often a reader may give neither octets nor an error.
const maxEmptyReads = 100

// window is a stretch of a stream that can be looked at before it is taken.
// Unlike bufio.Reader it never forgets an error, so that a failing disk is
// never mistaken for the end of a file.
type window struct {
	r      io.Reader
	buf    []byte
	lo, hi int
	err    error // io.EOF or what r failed with; the octets before it are still there
}

func newWindow(r io.Reader) window { return window{r: r, buf: make([]byte, windowSize)} }

// peek gives the next n octets, or fewer if err says why. n is at most
// windowSize.
func (w *window) peek(n int) []byte {
	for empty := 0; w.hi-w.lo < n && w.err == nil; {
		if w.lo == w.hi {
			w.lo, w.hi = 0, 0
		} else if w.lo+n > len(w.buf) {
			w.hi = copy(w.buf, w.buf[w.lo:w.hi])
			w.lo = 0
		}
		m, err := w.r.Read(w.buf[w.hi:])
		w.hi += m
		w.err = err
		if empty++; m > 0 {
			empty = 0
		} else if empty > maxEmptyReads && err == nil {
			w.err = io.ErrNoProgress
		}
	}
	return w.buf[w.lo:min(w.hi, w.lo+n)]
}

func (w *window) buffered() []byte { return w.buf[w.lo:w.hi] }
func (w *window) skip(n int)       { w.lo += n }

// failure gives the error of reading, if it is not the end of the stream.
func (w *window) failure() error {
	if w.err == io.EOF {
		return nil
	}
	return w.err
}

// ends reports whether the stream ends after the next n octets.
func (w *window) ends(n int) bool { return len(w.peek(n+1)) <= n && w.err == io.EOF }

// Unquote gives the octets of r with one '>' taken off each line that begins
// with '>', any number of further '>', and "From ". It undoes what AppendEntry
// and WriteEntry do. A line "From " without '>' stays as it is.
func Unquote(r io.Reader) io.Reader {
	return &unquoter{r: r, in: make([]byte, windowSize)}
}

type unquoter struct {
	r       io.Reader
	in      []byte
	out     []byte // to be given out; it shares no memory with in
	backing []byte
	err     error
	inLine  bool
	held    bool // one '>' of the run at the beginning of this line is held back
	matched int  // octets of fromWord after the run, held back too
	empty   int
}

func (u *unquoter) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		n, err := u.r.Read(u.in)
		if u.empty++; n > 0 {
			u.empty = 0
		} else if u.empty > maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
		u.err = err
		u.out = u.append(u.backing[:0], u.in[:n])
		if err == io.EOF {
			u.out = u.flush(u.out)
		}
		u.backing = u.out
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

func (u *unquoter) append(dst, src []byte) []byte {
	for len(src) > 0 {
		switch {
		case u.inLine:
			i := bytes.IndexByte(src, '\n')
			if i < 0 {
				return append(dst, src...)
			}
			dst = append(dst, src[:i+1]...)
			src = src[i+1:]
			u.inLine = false
		case u.matched == 0 && src[0] == '>':
			if u.held {
				dst = append(dst, '>')
			}
			u.held = true
			src = src[1:]
		case u.held && src[0] == fromWord[u.matched]:
			src = src[1:]
			if u.matched++; u.matched == len(fromWord) {
				dst = append(dst, fromWord...)
				u.held, u.matched, u.inLine = false, 0, true
			}
		default:
			dst = u.flush(dst)
			u.inLine = true
		}
	}
	return dst
}

// flush gives out what was held back for a line that turned out not to be
// quoted.
func (u *unquoter) flush(dst []byte) []byte {
	if u.held {
		dst = append(dst, '>')
	}
	dst = append(dst, fromWord[:u.matched]...)
	u.held, u.matched = false, 0
	return dst
}

// EntryBody gives the stored octets of one entry. r must give exactly the
// octets of the entry (an io.SectionReader over the recorded offset and length)
// and addedEOL be what writing it returned. The From_ line and the empty line
// at the end are dropped, with addedEOL the LF before it too, and the rest is
// unquoted.
//
// It reads each entry that a Scanner finds (with addedEOL false): an entry
// without From_ line or without an empty line at its end gives all it has. It
// does not notice a torn entry: that is for a digest to find out.
func EntryBody(r io.Reader, addedEOL bool) io.Reader {
	return Unquote(&entryReader{w: newWindow(r), addedEOL: addedEOL, last: '\n'})
}

// maxEnd is the longest end of an entry: an added LF and an empty line with CR.
const maxEnd = len("\n\r\n")

// entryReader gives the quoted octets of an entry, without From_ line and end.
type entryReader struct {
	w        window
	addedEOL bool
	begun    bool
	left     int  // octets still to give out, once ended
	ended    bool // the end is in the window, and cut off
	last     byte // the last octet given out; at first as if a line had ended
}

func (e *entryReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !e.begun {
		e.begun = true
		e.w.skip(fromLength(&e.w, 0))
	}
	if !e.ended {
		e.w.peek(maxEnd + 1)
		e.left = len(e.w.buffered()) - maxEnd
		switch {
		case e.w.err == io.EOF:
			e.left = e.trimmed(e.w.buffered())
			e.ended = true
		case e.w.err != nil && e.left <= 0:
			return 0, e.w.err
		}
	}
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, e.w.buffered()[:e.left])
	e.last = p[n-1]
	e.w.skip(n)
	e.left -= n
	return n, nil
}

// trimmed gives the length of b, the last octets of an entry, without its end.
func (e *entryReader) trimmed(b []byte) int {
	at := func(i int) byte {
		if i < 0 {
			return e.last
		}
		return b[i]
	}
	n := len(b)
	switch {
	case n >= 1 && at(n-1) == '\n' && at(n-2) == '\n':
		n--
	case n >= 2 && at(n-1) == '\n' && at(n-2) == '\r' && at(n-3) == '\n':
		n -= 2
	}
	if e.addedEOL && n >= 1 && at(n-1) == '\n' {
		n--
	}
	return n
}
