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

	// What the file looked like when its last message was last known to be
	// sound, and that message. The committer's, once a batch has the mailbox in it.
	stamp fs.FileInfo
	last  dedupe.Entry // its Length is 0 if there is none

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

func (s *mboxStore) look(bool) error {
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
	if !s.present(e) {
		return nil, fs.ErrNotExist
	}
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
	if err := s.unchanged(fi); err != nil {
		return err
	}
	if s.gap, err = gapBefore(f, fi.Size()); err != nil {
		return err
	}
	a.fs.sync.dirChanged(path.Dir(s.m.path))
	return s.place(list, fi.Size()+int64(len(s.gap)))
}

// unchanged refuses a file that another program rewrote since it was audited or
// written: an append would make it look sound to the next audit, and messages
// that are gone from it would go on counting as held. The next run finds out
// what is still in it.
func (s *mboxStore) unchanged(fi fs.FileInfo) error {
	if s.last.Length == 0 || s.stamp != nil && os.SameFile(s.stamp, fi) && fi.Size() == s.stamp.Size() && fi.ModTime().Equal(s.stamp.ModTime()) {
		return nil
	}
	if fi.Size() >= s.last.Offset+s.last.Length {
		// Through this descriptor: closing another one may give the lock away.
		f, eol := formOf(s.last)
		stored := mbox.EntryBody(io.NewSectionReader(s.f, s.last.Offset, s.last.Length), eol)
		if equal, err := isRaw(restorer(stored, f), s.last.Raw); err != nil || equal {
			return err // others have only appended
		}
	}
	return &Error{Code: CodeDamaged, Path: s.m.path, Text: "rewritten by another program"}
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
	end := list[0].rec.Offset - int64(len(s.gap))
	// Not every program locks, and theirs must not be written over.
	if fi, err := s.f.Stat(); err != nil {
		return err
	} else if fi.Size() != end {
		return &Error{Code: CodeDamaged, Path: s.m.path, Text: "written to by another program"}
	}
	if err := s.append(list, end); err != nil {
		// On a full disk the half that fitted would stand in the user's sight,
		// and setting it aside at the next opening needs room. The lock is held,
		// and what is cut here was written since: it is ours, unless somebody who
		// does not lock wrote behind it.
		last := list[len(list)-1].rec
		if fi, e := s.f.Stat(); e == nil && fi.Size() <= last.Offset+last.Length {
			_ = a.fs.truncate(s.f, end)
		}
		return err
	}
	fi, err := s.f.Stat()
	if err != nil {
		return err
	}
	last := list[len(list)-1]
	s.stamp, s.last = fi, last.rec.entry(last.seq)
	s.mu.Lock()
	s.size = last.rec.Offset + last.rec.Length
	s.mu.Unlock()
	// The file may have been replaced, and what was written belong to no name.
	// Not every file system tells files apart for certain; their octets do.
	if there, err := a.fs.stat(s.m.path); err != nil || !os.SameFile(fi, there) {
		if equal, err := s.m.holds(s.last); err != nil || !equal {
			return &Error{Code: CodeDamaged, Path: s.m.path, Text: "replaced by another program", Err: err}
		}
	}
	return nil
}

// append writes the entries of a batch at the end of the file, and syncs it.
func (s *mboxStore) append(list []*message, end int64) error {
	a := s.m.a
	if _, err := s.f.Seek(end, io.SeekStart); err != nil {
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
	return syncFile(s.f)
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

// audit reports whether the message that is recorded furthest down the file
// stands there. If not, another program rewrote the file. last.Length is 0 if
// none is recorded to be in it.
func (s *mboxStore) audit(last dedupe.Entry) (bool, error) {
	if err := s.look(true); err != nil {
		return false, err
	}
	s.last, s.stamp = last, nil
	if last.Length == 0 {
		return true, nil
	}
	fi, err := s.m.a.fs.stat(s.m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.stamp = fi
	equal, err := s.m.holds(last)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return equal, err
}

// torn finds out which records of an unfinished batch reached the file. What
// follows the last whole one was being written when the run ended; none of it
// was ever reported as held. It is set aside, and the file ends as before.
func (s *mboxStore) torn(list []placed, before dedupe.Entry) (sound []placed, err error) {
	if err := s.look(true); err != nil || len(list) == 0 {
		return nil, err
	}
	rest := 0 // where the unfinished end of list begins
	for i, p := range list {
		equal, err := s.m.holds(p.rec.entry(p.seq))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if equal {
			sound = append(sound, p)
			rest = i + 1
		}
	}
	if rest == len(list) {
		return sound, nil
	}
	if rest > 0 {
		before = list[rest-1].rec.entry(list[rest-1].seq)
	}
	first, last := list[rest].rec.Offset, list[len(list)-1].rec
	if size := s.length(); size <= first || size > last.Offset+last.Length || first < before.Offset+before.Length {
		return sound, nil // nothing of it is there, or somebody else wrote here since: theirs is not ours to move
	}
	for _, p := range list[rest:] {
		if p.rec.Adopted {
			return sound, nil // nor is what another program put there
		}
	}
	if rest == 0 && before.Length > 0 {
		// The batch went behind this message. If it is not there, the file is
		// another one, and what stands at first may be anybody's.
		if equal, err := s.m.holds(before); err != nil || !equal {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return sound, err
		}
	}
	return sound, s.cut(first)
}

// cut takes what stands from first on, if it can be the beginning of an entry
// of ours, out of the file and sets it aside.
func (s *mboxStore) cut(first int64) error {
	f, err := s.m.a.fs.openFile(s.m.path, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if !looksUnfinished(f, first) {
		return nil
	}
	if err := s.m.a.keepAside(io.NewSectionReader(f, first, s.length()-first), "message"); err != nil {
		return err
	}
	s.m.a.note(NoteTornMessage, s.m.path, 1)
	if err := s.m.a.fs.truncate(f, first); err != nil {
		return err
	}
	return s.look(true)
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
