package session

import (
	"bufio"
	"bytes"
	"io"
)

// maxMessage bounds one message, so that a server that never ends one does not
// fill the disk. Octets.
const maxMessage = 4 << 30

// dotReader reads the body of one multi-line response (RFC 1939 §3) as the
// octets that were sent: the dot that stuffs a line is taken away, everything
// else is passed untouched, the line end before the final dot included.
//
// The response ends at CRLF.CRLF and nowhere else. Only if every line end so
// far, that of the status line included, was a bare LF, LF.LF ends it too.
// Without an end Read returns io.ErrUnexpectedEOF or the connection's failure,
// never io.EOF.
type dotReader struct {
	br    *bufio.Reader
	bare  bool  // all line ends so far were bare LFs
	start bool  // the next octet begins a line
	last  byte  // the octet before the next one
	n     int64 // octets delivered
	raw   int64 // octets taken from br
	err   error // sticky; io.EOF once the end was seen
}

// newDotReader returns the reader of what follows a status line that ended in
// CRLF, or, if bare is set, in LF.
func newDotReader(br *bufio.Reader, bare bool) *dotReader {
	return &dotReader{br: br, bare: bare, start: true, last: '\n'}
}

var crlfDot = []byte("\r\n.")

func (d *dotReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && d.err == nil {
		if d.br.Buffered() == 0 {
			if n > 0 {
				return n, nil
			}
			if _, err := d.br.Peek(1); err != nil {
				d.fail(err)
				break
			}
		}
		buf, _ := d.br.Peek(d.br.Buffered())
		if d.start && buf[0] == '.' {
			if len(buf) < 3 && n > 0 {
				return n, nil // deciding may have to wait; what is there need not
			}
			d.dot()
			continue
		}
		chunk := buf[:d.span(buf)]
		c := copy(p[n:], chunk)
		d.br.Discard(c)
		d.raw += int64(c)
		d.passed(chunk[:c])
		n += c
	}
	if n > 0 {
		return n, nil
	}
	if len(p) == 0 && d.err == nil {
		return 0, nil
	}
	return 0, d.err
}

// dot decides on a dot at the start of a line: the end of the response, or one
// octet to take away (RFC 1939 §3).
func (d *dotReader) dot() {
	b, err := d.br.Peek(2)
	if err == nil && b[1] == '\r' {
		b, err = d.br.Peek(3)
	}
	if err != nil {
		d.fail(err)
		return
	}
	crlf := len(b) == 3 && b[2] == '\n' && !d.bare
	if crlf || d.bare && b[1] == '\n' {
		d.br.Discard(len(b))
		d.raw += int64(len(b))
		d.err = io.EOF
		return
	}
	d.br.Discard(1)
	d.raw++
	d.start, d.last = false, '.'
}

// span returns how many octets of buf, at least one, can pass before a line
// start has to be looked at.
func (d *dotReader) span(buf []byte) int {
	if d.last == '\r' && buf[0] == '\n' {
		return 1 // CRLF torn by the buffer's edge
	}
	if d.bare {
		if i := bytes.IndexByte(buf, '\n'); i >= 0 {
			return i + 1
		}
		return len(buf)
	}
	if i := bytes.Index(buf, crlfDot); i >= 0 {
		return i + 2
	}
	return len(buf)
}

// passed takes note of octets that were delivered; there is at least one.
func (d *dotReader) passed(b []byte) {
	before, last := d.last, b[len(b)-1]
	if len(b) > 1 {
		before = b[len(b)-2]
	}
	d.start = false
	if last == '\n' {
		crlf := before == '\r'
		if crlf {
			d.bare = false
		}
		d.start = crlf || d.bare
	}
	d.last = last
	d.n += int64(len(b))
	if d.n > maxMessage {
		d.err = failure(ClassProtocol, "message-too-long", nil)
	}
}

func (d *dotReader) fail(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	d.err = err
}

// complete reports whether the end of the response was read.
func (d *dotReader) complete() bool { return d.err == io.EOF }

// drain reads on to the end of the response, or to a failure.
func (d *dotReader) drain() {
	if d.err != nil {
		return
	}
	var scratch [16 << 10]byte
	for d.err == nil {
		d.Read(scratch[:])
	}
}
