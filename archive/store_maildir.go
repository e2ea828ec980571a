package archive

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fumibako-mail/fumibako/archive/maildir"
	"github.com/fumibako-mail/fumibako/dedupe"
)

// maildirStore keeps one mailbox as a Maildir.
type maildirStore struct {
	m  *Mailbox
	mu sync.Mutex
	// seen is what cur and new hold, by base name; nil before look.
	seen map[string]maildirFile
}

type maildirFile struct {
	name string // with info
	size int64
	new  bool // lies in new, not in cur
}

func newMaildirStore(m *Mailbox) store { return &maildirStore{m: m} }

func (s *maildirStore) path(f maildirFile) string {
	if f.new {
		return s.m.path + "/new/" + f.name
	}
	return s.m.path + "/cur/" + f.name
}

func (s *maildirStore) look() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != nil {
		return nil
	}
	seen := map[string]maildirFile{}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := s.m.a.fs.mkdir(s.m.path + "/" + sub); err != nil {
			return err
		}
		if sub == "tmp" {
			break
		}
		dir, err := s.m.a.fs.open(s.m.path + "/" + sub)
		if err != nil {
			return err
		}
		err = eachFile(dir, func(name string, size int64) {
			base, _ := maildir.Split(name)
			seen[base] = maildirFile{name, size, sub == "new"}
		})
		dir.Close()
		if err != nil {
			return err
		}
	}
	s.seen = seen
	return nil
}

func (s *maildirStore) file(base string) (maildirFile, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.seen[base]
	return f, ok
}

func (s *maildirStore) present(e dedupe.Entry) bool {
	f, ok := s.file(e.Where)
	return ok && f.size == e.Length
}

func (s *maildirStore) open(e dedupe.Entry) (io.ReadCloser, error) {
	f, ok := s.file(e.Where)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return s.m.a.fs.open(s.path(f))
}

func (s *maildirStore) prepare(list []*message) error {
	for _, msg := range list {
		if err := s.spool(msg); err != nil {
			return err
		}
	}
	return nil
}

// spool gives a message its name and brings its octets and its time to the
// spool, from where one rename lets it appear.
func (s *maildirStore) spool(msg *message) error {
	a := s.m.a
	wire := msg.fp.Size
	if msg.rec.Form != formCRLF.String() {
		bare, err := a.bareLF(msg)
		if err != nil {
			return err
		}
		wire += bare
	}
	when := msg.date
	if when.IsZero() {
		when = time.Now()
	}
	key := hex.EncodeToString(msg.fp.Raw[:10])
	msg.rec.File = maildir.Base(when.Unix(), key, msg.rec.Length, wire)
	for n := 2; ; n++ {
		if _, taken := s.file(msg.rec.File); !taken {
			break
		}
		msg.rec.File = maildir.Base(when.Unix(), fmt.Sprintf("%sn%d", key, n), msg.rec.Length, wire)
	}
	if msg.spool != "" {
		return a.fs.chtimes(spoolDir+"/"+msg.spool, when)
	}
	if msg.twin != nil {
		return nil // a link needs no spool; publish falls back to one
	}
	return a.spoolMemory(msg, when)
}

// spoolMemory brings a message that waited in memory to the spool.
func (a *Archive) spoolMemory(msg *message, when time.Time) error {
	name := strconv.FormatInt(a.unique(), 10)
	if err := a.spool.add(name, msg.octets, when); err != nil {
		return err
	}
	msg.spool = name
	return nil
}

// bareLF counts the line ends of a message that are LF alone: Maildir's W
// counts each as two octets.
func (a *Archive) bareLF(msg *message) (n int64, err error) {
	if msg.spool == "" {
		return countBareLF(msg.octets, 0), nil
	}
	f, err := a.fs.open(spoolDir + "/" + msg.spool)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	var last byte
	for {
		k, err := f.Read(buf)
		n += countBareLF(buf[:k], last)
		if k > 0 {
			last = buf[k-1]
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func countBareLF(p []byte, before byte) int64 {
	n := bytes.Count(p, []byte{'\n'}) - bytes.Count(p, []byte("\r\n"))
	if len(p) > 0 && p[0] == '\n' && before == '\r' {
		n--
	}
	return int64(n)
}

func (s *maildirStore) publish(list []*message, marks []flagChange) error {
	a := s.m.a
	cur, err := a.fs.folder(s.m.path + "/cur")
	if err != nil {
		return err
	}
	defer cur.close()
	for _, msg := range list {
		name := maildir.Join(msg.rec.File, a.marker.Separator[0], stringsOf(msg.rec.Flags))
		linked := msg.twin != nil && s.link(msg, s.m.path+"/cur/"+name)
		switch {
		case linked && msg.spool != "":
			if err := a.fs.remove(spoolDir + "/" + msg.spool); err != nil {
				return err
			}
		case !linked:
			if msg.spool == "" { // the twin is not what it was: this one stands for itself
				when := msg.date
				if when.IsZero() {
					when = time.Now()
				}
				if err := a.spoolMemory(msg, when); err != nil {
					return err
				}
				if err := a.fs.sync.files(); err != nil {
					return err
				}
			}
			if err := a.spool.move(msg.spool, cur, name); err != nil {
				return err
			}
		}
		s.mu.Lock()
		s.seen[msg.rec.File] = maildirFile{name, msg.rec.Length, false}
		s.mu.Unlock()
	}
	return s.remark(marks)
}

// link makes the message a hard link to its twin, if the twin's file still
// holds the same octets.
func (s *maildirStore) link(msg *message, to string) bool {
	if msg.octets == nil { // large: comparing costs more than it saves here
		return false
	}
	other, ok := msg.twin.m.store.(*maildirStore)
	if !ok || other.look() != nil {
		return false
	}
	where := msg.twin.e.Where
	if msg.twin.p != nil {
		where = msg.twin.p.rec.File
	}
	f, ok := other.file(where)
	return ok && sameStored(s.m.a.fs, other.path(f), msg.octets) && s.m.a.fs.link(other.path(f), to) == nil
}

func (s *maildirStore) remark(marks []flagChange) error {
	for _, k := range marks {
		f, ok := s.file(k.where)
		if !ok {
			continue // gone; the ledger says so
		}
		base, info := maildir.Split(f.name)
		changed := maildir.Apply(info, k.add, k.remove)
		if changed == info && !f.new {
			continue
		}
		sep := s.m.a.marker.Separator
		if i := len(base); i < len(f.name) {
			sep = f.name[i : i+1]
		}
		to := maildirFile{base + sep + "2," + changed, f.size, false}
		if err := s.m.a.fs.rename(s.path(f), s.path(to)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // another program was quicker
			}
			return err
		}
		s.mu.Lock()
		s.seen[base] = to
		s.mu.Unlock()
	}
	return nil
}

func (s *maildirStore) settle() {}

func (s *maildirStore) torn(list []placed) (sound []placed, err error) {
	if err := s.look(); err != nil {
		return nil, err
	}
	for _, p := range list {
		e := p.rec.entry(p.seq)
		f, ok := s.file(e.Where)
		if !ok {
			continue // never published
		}
		if s.present(e) {
			equal, err := s.m.holds(e)
			if err != nil {
				return nil, err
			}
			if equal {
				sound = append(sound, p)
				continue
			}
		}
		octets, err := s.m.a.fs.open(s.path(f))
		if err != nil {
			return nil, err
		}
		err = s.m.a.keepAside(octets, "message")
		octets.Close()
		if err != nil {
			return nil, err
		}
		if err := s.m.a.fs.remove(s.path(f)); err != nil {
			return nil, err
		}
		s.mu.Lock()
		delete(s.seen, e.Where)
		s.mu.Unlock()
		s.m.a.note(NoteTornMessage, s.m.path, 1)
	}
	return sound, nil
}

func (s *maildirStore) foreign(recorded map[string]bool, fn func(found) error) error {
	s.mu.Lock()
	var list []maildirFile
	for base, f := range s.seen {
		if !recorded[base] && !strings.HasPrefix(base, ".") {
			list = append(list, f)
		}
	}
	s.mu.Unlock()
	for _, f := range list {
		base, info := maildir.Split(f.name)
		p := s.path(f)
		fi, err := s.m.a.fs.stat(p)
		if err != nil {
			continue
		}
		err = fn(found{
			path: p, length: f.size, where: base, flags: maildir.Flags(info), date: fi.ModTime(),
			open: func() (io.ReadCloser, error) { return s.m.a.fs.open(p) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}
