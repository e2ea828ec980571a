package archive

import (
	"bytes"
	"io"
	"os"
)

// form says how the octets of a message stand in a file.
type form byte

const (
	formCRLF     form = 'c' // every line end was CRLF and no other CR or LF stood in the message: each CRLF is stored as LF
	formVerbatim form = 'v' // octet for octet
)

func (f form) String() string {
	if f == formCRLF {
		return "crlf"
	}
	return "verbatim"
}

// onlyCRLF reports whether each CR is followed by LF and each LF preceded by
// CR. Only then can LF alone stand for CRLF and be turned back without a doubt.
func onlyCRLF(p []byte) bool {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return bytes.IndexByte(p, '\r') < 0
		}
		if i == 0 || p[i-1] != '\r' || bytes.IndexByte(p[:i-1], '\r') >= 0 {
			return false
		}
		p = p[i+1:]
	}
}

// appendLF appends p with each CRLF as LF. p must be onlyCRLF.
func appendLF(dst, p []byte) []byte {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return append(dst, p...)
		}
		dst = append(append(dst, p[:i-1]...), '\n')
		p = p[i+1:]
	}
}

// restorer turns stored octets into the octets of the message: each LF into
// CRLF if they were stored that way.
func restorer(r io.Reader, f form) io.Reader {
	if f == formVerbatim {
		return r
	}
	return &crlfReader{r: r}
}

type crlfReader struct {
	r    io.Reader
	buf  [16 << 10]byte
	rest []byte
	lf   bool // a CR was given out, its LF is owed
	err  error
}

func (c *crlfReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if c.lf {
			p[n] = '\n'
			n++
			c.lf = false
			continue
		}
		if len(c.rest) == 0 {
			if c.err != nil || n > 0 {
				break
			}
			var k int
			k, c.err = c.r.Read(c.buf[:])
			c.rest = c.buf[:k]
			if k == 0 {
				break
			}
			continue
		}
		k := bytes.IndexByte(c.rest, '\n')
		if k < 0 {
			k = len(c.rest)
		}
		k = copy(p[n:], c.rest[:k])
		n += k
		c.rest = c.rest[k:]
		if n < len(p) && len(c.rest) > 0 && c.rest[0] == '\n' {
			p[n] = '\r'
			n++
			c.lf = true
			c.rest = c.rest[1:]
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, c.err
}

// spool is a large message on its way into the archive, already in stored
// form. It begins as formCRLF and falls back to formVerbatim at the first line
// end that is not CRLF; what was written until then is an exact image.
type spool struct {
	a    *Archive
	name string
	f    *os.File
	form form
	cr   bool // the last octet was a CR that is not written yet
	n    int64
	buf  []byte
}

func (s *spool) Write(p []byte) (int, error) {
	written := len(p)
	if s.form == formCRLF {
		q := p
		if s.cr {
			q = append([]byte{'\r'}, p...)
			s.cr = false
		}
		keep := q
		if len(q) > 0 && q[len(q)-1] == '\r' {
			keep = q[:len(q)-1]
			s.cr = true
		}
		if onlyCRLF(keep) {
			s.buf = appendLF(s.buf[:0], keep)
			return written, s.out(s.buf)
		}
		s.cr = false
		if err := s.verbatim(); err != nil {
			return 0, err
		}
		p = q
	}
	return written, s.out(p)
}

func (s *spool) out(p []byte) error {
	s.n += int64(len(p))
	return s.a.fs.write(s.f, p)
}

// verbatim rewrites what was spooled so far, each LF as the CRLF it was.
func (s *spool) verbatim() error {
	old, oldName := s.f, s.name
	if _, err := old.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, name, err := s.a.spoolFile()
	if err != nil {
		return err
	}
	s.f, s.name, s.form = f, name, formVerbatim
	s.n, err = io.Copy(stepWriter{s.a.fs, f}, &crlfReader{r: old})
	old.Close()
	s.a.fs.remove(spoolDir + "/" + oldName)
	return err
}

// finish settles a CR at the very end and closes the file.
func (s *spool) finish() error {
	if s.cr {
		s.cr = false
		if err := s.verbatim(); err != nil {
			s.f.Close()
			return err
		}
		if err := s.out([]byte{'\r'}); err != nil {
			s.f.Close()
			return err
		}
	}
	return s.a.fs.sync.written(s.f)
}

func (s *spool) discard() {
	s.f.Close()
	s.a.fs.remove(spoolDir + "/" + s.name)
}
