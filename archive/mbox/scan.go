package mbox

import (
	"bytes"
	"io"
)

// maxFromLine bounds a From_ line, in octets. No program writes a longer one.
const maxFromLine = 1024

// maxField bounds the name of the header field looked for after a From_ line.
const maxField = 256

// Entry is one entry of an mbox.
type Entry struct {
	Offset int64  // of its first octet, in the file
	Length int64  // From_ line, octets and the empty line at the end; -1 if not known yet, see Scanner.Next
	From   []byte // the From_ line with its line end; nil: these octets stand before any From_ line and are nobody's entry
}

// Scanner finds the entries of an mbox. It is not safe for concurrent use.
//
// An entry begins at a line that begins with "From " and
//
//   - is the first line, or
//   - holds a weekday, month, day, time and year as asctime writes them, after
//     at most one word (the sender), as mutt and Dovecot ask for; or
//   - follows an empty line and is followed by a header field, or by nothing.
//     Thunderbird writes From_ lines without sender or date.
//
// So a paragraph "From here on …" of a program that quotes nothing does not
// break a message in two. A From_ line longer than 1024 octets is none. The
// empty line before a From_ line, or at the end of the file, belongs to the
// entry but not to its body; it may end with CRLF. Some files lack it.
//
// Octets before the first From_ line are an entry of their own, with From nil.
// Entries follow each other without a gap: their lengths add up to what was
// read, and no octet is passed over.
type Scanner struct {
	w         window
	pos       int64 // in the file, of the next octet in w
	entry     Entry
	inBody    bool
	lineStart bool

	file  io.ReaderAt // r, if it can be read again
	shift int64       // from an offset of an entry to one of file
	body  io.Reader   // of the current entry, in file
}

// NewScanner returns a Scanner that reads r, whose first octet stands at offset
// in the file and, if it belongs to an entry, begins one.
func NewScanner(r io.Reader, offset int64) *Scanner {
	s := &Scanner{w: newWindow(r), pos: offset}
	file, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok {
		return s
	}
	if at, err := file.Seek(0, io.SeekCurrent); err == nil { // a pipe has no position
		s.file, s.shift = file, at-offset
	}
	return s
}

// Next goes to the next entry, reading over what is left of the body of the
// one before. If r is an io.ReaderAt and an io.Seeker, as a file is, Next finds
// the end of the entry at once, and Body reads its octets a second time.
// Otherwise Length is -1 until the body has been read, and Entry then tells it.
//
// Next returns io.EOF at the end, and any other error only if reading failed;
// then nothing is known about the entry it failed in.
func (s *Scanner) Next() (Entry, error) {
	if _, err := io.Copy(io.Discard, (*scannerBody)(s)); err != nil {
		return Entry{}, err
	}
	if len(s.w.peek(1)) == 0 {
		return Entry{}, s.w.err
	}
	n := fromLength(&s.w, 0)
	if err := s.w.failure(); err != nil {
		return Entry{}, err
	}
	s.entry = Entry{Offset: s.pos, Length: -1}
	if n > 0 {
		s.entry.From = bytes.Clone(s.w.peek(n))
		s.skip(n)
	}
	s.inBody, s.lineStart = true, true
	if s.file != nil {
		begin := s.pos
		length, err := io.Copy(io.Discard, (*scannerBody)(s))
		if err != nil {
			return Entry{}, err
		}
		s.body = io.NewSectionReader(s.file, begin+s.shift, length)
	}
	return s.entry, nil
}

// Entry returns the current entry, with its Length once Body has given io.EOF,
// if not before.
func (s *Scanner) Entry() Entry { return s.entry }

// Body gives the octets of the current entry as they stand in the file (still
// quoted), without From_ line and without the empty line at the end. It is
// valid until Next.
func (s *Scanner) Body() io.Reader {
	if s.body != nil {
		return s.body
	}
	return (*scannerBody)(s)
}

// scannerBody reads the body that s stands in, and takes the entry's end.
type scannerBody Scanner

func (b *scannerBody) Read(p []byte) (n int, err error) {
	s := (*Scanner)(b)
	for n < len(p) && s.inBody {
		ends := len(s.w.peek(1)) == 0 || s.lineStart && s.bodyEnds()
		// What could not be read may have decided where the body ends.
		if err := s.w.failure(); err != nil {
			return n, err
		}
		if ends {
			s.inBody = false
			s.entry.Length = s.pos - s.entry.Offset
			break
		}
		b := s.w.buffered()
		b = b[:min(len(b), len(p)-n)]
		i := bytes.IndexByte(b, '\n')
		if s.lineStart = i >= 0; s.lineStart {
			b = b[:i+1]
		}
		n += copy(p[n:], b)
		s.skip(len(b))
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// bodyEnds reports, at the beginning of a line, whether the body ends here, and
// takes the empty line that ends the entry.
func (s *Scanner) bodyEnds() bool {
	b := s.w.peek(1)
	switch b[0] {
	case 'F':
		n := fromLength(&s.w, 0)
		return n > 0 && isDated(s.w.peek(n))
	case '\n', '\r':
		n := 1
		if b[0] == '\r' {
			if n = 2; !bytes.Equal(s.w.peek(2), []byte("\r\n")) {
				return false
			}
		}
		if s.w.ends(n) || s.beginsAfterEmpty(n) {
			s.skip(n)
			return true
		}
	}
	return false
}

// beginsAfterEmpty reports whether an entry begins after the n octets of an
// empty line.
func (s *Scanner) beginsAfterEmpty(n int) bool {
	m := fromLength(&s.w, n)
	if m == 0 {
		return false
	}
	if isDated(s.w.peek(n + m)[n:]) || s.w.ends(n+m) {
		return true
	}
	return beginsField(s.w.peek(n + m + maxField)[n+m:])
}

func (s *Scanner) skip(n int) {
	s.w.skip(n)
	s.pos += int64(n)
}

// fromLength gives the length of the From_ line that begins at octet off of w,
// with its line end, or 0 if there is none.
func fromLength(w *window, off int) int {
	b := w.peek(off + len(fromWord))[min(off, len(w.buffered())):]
	if string(b) != fromWord {
		return 0
	}
	b = w.peek(off + maxFromLine)[off:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	if len(b) == maxFromLine {
		return 0
	}
	return len(b)
}

const (
	weekdays = "MonTueWedThuFriSatSun"
	months   = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// isName reports whether b is one of the names of three letters in list.
func isName(b []byte, list string) bool {
	for i := 0; len(b) == 3 && i < len(list); i += 3 {
		if bytes.EqualFold(b, []byte(list[i:i+3])) {
			return true
		}
	}
	return false
}

// isDated reports whether a From_ line carries a date as asctime writes it,
// after at most one word. A zone may stand before or after the year.
func isDated(line []byte) bool {
	f := bytes.Fields(line[len(fromWord):])
	if len(f) > 0 && !(isName(f[0], weekdays) && len(f) > 1 && isName(f[1], months)) {
		f = f[1:]
	}
	if len(f) < 5 || !isName(f[0], weekdays) || !isName(f[1], months) || !isDay(f[2]) || !isTime(f[3]) {
		return false
	}
	for _, word := range f[4:min(len(f), 7)] {
		if len(word) == 4 && isDigits(word) {
			return true
		}
	}
	return false
}

func isDay(b []byte) bool { return len(b) >= 1 && len(b) <= 2 && isDigits(b) }

// isTime reports whether b is HH:MM or HH:MM:SS, the hour of one or two digits.
func isTime(b []byte) bool {
	parts := bytes.Split(b, []byte{':'})
	for i, p := range parts {
		if !isDigits(p) || len(p) > 2 || len(p) == 0 || len(p) == 1 && i > 0 {
			return false
		}
	}
	return len(parts) == 2 || len(parts) == 3
}

func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// beginsField reports whether b begins with a header field (RFC 5322 §2.2), or
// with the quoted From_ line that some programs put before the first one.
func beginsField(b []byte) bool {
	if bytes.HasPrefix(b, []byte(">"+fromWord)) {
		return true
	}
	i := bytes.IndexByte(b, ':')
	if i < 1 {
		return false
	}
	for _, c := range bytes.TrimRight(b[:i], " \t") {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return b[0] != ' ' && b[0] != '\t'
}
