package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fumibako-mail/fumibako/archive/mbox"
	"github.com/fumibako-mail/fumibako/dedupe"
)

// mboxStore keeps one mailbox as an mboxrd file.
type mboxStore struct {
	m  *Mailbox
	mu sync.Mutex
	// size is how long the file was when it was last looked at or written.
	size int64

	// Of one batch, between prepare and settle.
	f       *os.File
	unlock  func() error
	entries []byte // entries of messages in memory, in the archive's buffer
	gap     []byte // what keeps the first entry apart from what stands before it
	from    [][]byte
}

func newMboxStore(m *Mailbox) store { return &mboxStore{m: m} }

// lockWait bounds how long a commit waits for another mail program.
const lockWait = 30 * time.Second

func (s *mboxStore) look() error {
	fi, err := s.m.a.fs.stat(s.m.path)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.size = 0
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return &Error{Code: CodeDamaged, Path: s.m.path, Text: "not a regular file"}
	default:
		s.size = fi.Size()
	}
	return nil
}

func (s *mboxStore) length() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

func (s *mboxStore) present(e dedupe.Entry) bool {
	return e.Offset >= 0 && e.Length > 0 && e.Offset+e.Length <= s.length()
}

type section struct {
	io.Reader
	io.Closer
}

func (s *mboxStore) open(e dedupe.Entry) (io.ReadCloser, error) {
	f, err := s.m.a.fs.open(s.m.path)
	if err != nil {
		return nil, err
	}
	_, eol := formOf(e)
	return section{mbox.EntryBody(io.NewSectionReader(f, e.Offset, e.Length), eol), f}, nil
}

func (s *mboxStore) prepare(list []*message) error {
	a := s.m.a
	if err := a.fs.mkdir(path.Dir(s.m.path)); err != nil {
		return err
	}
	f, err := a.fs.openFile(s.m.path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	s.f = f
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	if s.unlock, err = mbox.Lock(ctx, f, filepath.Join(a.fs.path, filepath.FromSlash(s.m.path))); err != nil {
		a.note(NoteLocked, s.m.path, 1)
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() < s.length() {
		// Another program is rewriting the file at this moment. The next run
		// finds out what is still in it.
		return &Error{Code: CodeDamaged, Path: s.m.path, Text: "shortened by another program"}
	}
	if s.gap, err = gapBefore(f, fi.Size()); err != nil {
		return err
	}
	a.fs.sync.dirChanged(path.Dir(s.m.path))
	return s.place(list, fi.Size()+int64(len(s.gap)))
}

// gapBefore returns the line ends that are missing for an entry to begin at
// the end of the file: another program may not have left an empty line.
func gapBefore(f *os.File, size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	tail := make([]byte, min(size, 2))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	switch {
	case string(tail) == "\n\n":
		return nil, nil
	case tail[len(tail)-1] == '\n':
		return []byte("\n"), nil
	}
	return []byte("\n\n"), nil
}

// place settles where each entry will stand, which the journal must know
// before the entry is written.
func (s *mboxStore) place(list []*message, at int64) error {
	a := s.m.a
	begin := len(a.mboxBuf)
	s.from = s.from[:0]
	for _, msg := range list {
		when := msg.date
		if when.IsZero() {
			when = time.Now()
		}
		from := mbox.FromLine(msg.sender, when)
		s.from = append(s.from, from)
		msg.rec.Offset = at
		if msg.spool == "" {
			n := len(a.mboxBuf)
			a.mboxBuf, msg.rec.EOL = mbox.AppendEntry(a.mboxBuf, from, msg.octets)
			msg.rec.Length = int64(len(a.mboxBuf) - n)
		} else {
			n, eol, err := s.writeSpooled(io.Discard, from, msg)
			if err != nil {
				return err
			}
			msg.rec.Length, msg.rec.EOL = n, eol
		}
		at += msg.rec.Length
	}
	s.entries = a.mboxBuf[begin:]
	return nil
}

func (s *mboxStore) writeSpooled(w io.Writer, from []byte, msg *message) (int64, bool, error) {
	f, err := s.m.a.fs.open(spoolDir + "/" + msg.spool)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	return mbox.WriteEntry(w, from, f)
}

func (s *mboxStore) publish(list []*message, _ []flagChange) error {
	if len(list) == 0 {
		return nil // flags of an mbox stand in the journal alone
	}
	a := s.m.a
	first := list[0].rec.Offset
	if _, err := s.f.Seek(first-int64(len(s.gap)), io.SeekStart); err != nil {
		return err
	}
	if len(s.gap) > 0 {
		if err := a.fs.write(s.f, s.gap); err != nil {
			return err
		}
	}
	rest := s.entries
	run := 0 // octets of rest that lie next to each other and can be written at once
	for i, msg := range list {
		if msg.spool == "" {
			run += int(msg.rec.Length)
			continue
		}
		if err := a.fs.write(s.f, rest[:run]); err != nil {
			return err
		}
		rest, run = rest[run:], 0
		if _, _, err := s.writeSpooled(stepWriter{a.fs, s.f}, s.from[i], msg); err != nil {
			return err
		}
		if err := a.fs.remove(spoolDir + "/" + msg.spool); err != nil {
			return err
		}
	}
	if run > 0 {
		if err := a.fs.write(s.f, rest[:run]); err != nil {
			return err
		}
	}
	// fsync by itself: another program may hold pages of this file dirty, and
	// an error of theirs must not pass for ours or the other way round.
	if err := a.fs.step("sync mbox"); err != nil {
		return err
	}
	if err := syncFile(s.f); err != nil {
		return err
	}
	last := list[len(list)-1].rec
	s.mu.Lock()
	s.size = last.Offset + last.Length
	s.mu.Unlock()
	return nil
}

func (s *mboxStore) settle() {
	if s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
	s.entries, s.gap = nil, nil
}

// audit reports whether the file still ends where the last recorded message
// says, with that message before it. If not, another program rewrote it.
func (s *mboxStore) audit(last dedupe.Entry) (bool, error) {
	if err := s.look(); err != nil {
		return false, err
	}
	if last.Offset < 0 {
		return s.length() == 0, nil
	}
	if !s.present(last) {
		return false, nil
	}
	// What changed an octet without moving an end is no rewriting but damage,
	// and for Verify to name.
	if s.length() == last.Offset+last.Length {
		return true, nil
	}
	return s.m.holds(last)
}

// torn finds out which records of an unfinished batch reached the file. What
// follows the last whole one was being written when the run ended; none of it
// was ever reported as held. It is set aside, and the file ends as before.
func (s *mboxStore) torn(list []placed) (sound []placed, err error) {
	if err := s.look(); err != nil || len(list) == 0 {
		return nil, err
	}
	for _, p := range list {
		e := p.rec.entry(p.seq)
		if !s.present(e) {
			break
		}
		equal, err := s.m.holds(e)
		if err != nil {
			return nil, err
		}
		if !equal {
			break
		}
		sound = append(sound, p)
	}
	if len(sound) == len(list) {
		return sound, nil
	}
	first := list[len(sound)].rec.Offset
	last := list[len(list)-1].rec
	size := s.length()
	if size <= first {
		return sound, nil
	}
	f, err := s.m.a.fs.openFile(s.m.path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > last.Offset+last.Length || !looksUnfinished(f, first) {
		// Somebody else wrote here since. Theirs is not ours to move.
		return sound, nil
	}
	if err := s.m.a.keepAside(io.NewSectionReader(f, first, size-first), "message"); err != nil {
		return nil, err
	}
	s.m.a.note(NoteTornMessage, s.m.path, 1)
	if err := s.m.a.fs.truncate(f, first); err != nil {
		return nil, err
	}
	return sound, s.look()
}

// looksUnfinished reports whether what stands at offset can be the beginning
// of an entry of ours: a From_ line, or the NULs of blocks that never arrived.
func looksUnfinished(f *os.File, offset int64) bool {
	buf := make([]byte, 5)
	n, err := f.ReadAt(buf, offset)
	if err != nil && err != io.EOF {
		return false
	}
	got := string(buf[:n])
	return got == "From "[:n] || got == "\x00\x00\x00\x00\x00"[:n]
}

func (s *mboxStore) foreign(recorded map[string]bool, fn func(found) error) error {
	f, err := s.m.a.fs.open(s.m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sc := mbox.NewScanner(f, 0)
	for {
		e, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if recorded[offsetKey(e.Offset)] {
			continue
		}
		if _, err := io.Copy(io.Discard, sc.Body()); err != nil {
			return err
		}
		if e = sc.Entry(); e.From == nil && e.Length <= 2 {
			continue // the empty lines between two programs' entries
		}
		err = fn(found{
			path: s.m.path, offset: e.Offset, length: e.Length, date: fromDate(e.From),
			open: func() (io.ReadCloser, error) {
				g, err := s.m.a.fs.open(s.m.path)
				if err != nil {
					return nil, err
				}
				return section{mbox.EntryBody(io.NewSectionReader(g, e.Offset, e.Length), false), g}, nil
			},
		})
		if err != nil {
			return err
		}
	}
}

// fromDate reads the date of a From_ line, as asctime writes it with or
// without a zone behind; zero if it has none.
func fromDate(from []byte) time.Time {
	line := strings.TrimRight(string(from), "\r\n")
	for range 3 {
		if n := len(line) - len(time.ANSIC); n >= 0 {
			if t, err := time.Parse(time.ANSIC, line[n:]); err == nil {
				return t
			}
		}
		line = line[:max(0, strings.LastIndexByte(line, ' '))]
	}
	return time.Time{}
}
