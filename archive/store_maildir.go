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

func (s *maildirStore) look(again bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != nil && !again {
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
	if f, ok := s.file(e.Where); ok {
		r, err := s.m.a.fs.open(s.path(f))
		if !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		if err := s.find(e.Where); err != nil {
			return nil, err
		}
	}
	f, ok := s.file(e.Where)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return s.m.a.fs.open(s.path(f))
}

// find looks for one file that another program has given other flags, and so
// another name, since the mailbox was read.
func (s *maildirStore) find(base string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, base)
	for _, sub := range []string{"cur", "new"} {
		err := s.m.a.fs.entries(s.m.path+"/"+sub, func(e fs.DirEntry) error {
			if b, _ := maildir.Split(e.Name()); b != base || !e.Type().IsRegular() {
				return nil
			}
			if fi, err := e.Info(); err == nil {
				s.seen[base] = maildirFile{e.Name(), fi.Size(), sub == "new"}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *maildirStore) prepare(list []*message) error {
	batch := make(map[string]bool, len(list))
	for _, msg := range list {
		if err := s.spool(msg, batch); err != nil {
			return err
		}
	}
	return nil
}

// spool gives a message its name, which no other of the batch may have, and
// brings its octets and its time to the spool, from where one rename lets it
// appear.
func (s *maildirStore) spool(msg *message, batch map[string]bool) error {
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
	base := maildir.Base(when.Unix(), key, msg.rec.Length, wire)
	for n := 2; ; n++ {
		if _, taken := s.file(base); !taken && !batch[base] {
			break
		}
		base = maildir.Base(when.Unix(), fmt.Sprintf("%sn%d", key, n), msg.rec.Length, wire)
	}
	batch[base] = true
	msg.rec.File = text(base)
	if msg.spool != "" {
		// A courtesy: not every file system can keep every date a server makes up.
		a.fs.chtimes(spoolDir+"/"+msg.spool, when)
		return nil
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
		base := string(msg.rec.File)
		name := maildir.Join(base, a.marker.Separator[0], stringsOf(msg.rec.Flags))
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
		s.seen[base] = maildirFile{name, msg.rec.Length, false}
		s.mu.Unlock()
	}
	return s.remark(marks)
}

// link makes the message a hard link to its twin, if the twin's file still
// holds the same octets.
func (s *maildirStore) link(msg *message, to string) bool {
	other, ok := msg.twin.m.store.(*maildirStore)
	if !ok || other.look(false) != nil {
		return false
	}
	where := msg.twin.e.Where
	if msg.twin.p != nil {
		where = string(msg.twin.p.rec.File)
	}
	f, ok := other.file(where)
	if !ok {
		return false
	}
	d := s.m.a.fs
	octets := io.Reader(bytes.NewReader(msg.octets))
	if msg.spool != "" {
		spooled, err := d.open(spoolDir + "/" + msg.spool)
		if err != nil {
			return false
		}
		defer spooled.Close()
		octets = spooled
	}
	return sameStored(d, other.path(f), octets, msg.rec.Length) && d.link(other.path(f), to) == nil
}

func (s *maildirStore) remark(marks []flagChange) error {
	for _, k := range marks {
		err := s.remarkOne(k)
		if errors.Is(err, fs.ErrNotExist) { // another program renamed it first
			if err = s.find(k.where); err == nil {
				err = s.remarkOne(k)
			}
		}
		// The journal has the flags; a name is not worth a run.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !isInUse(err) {
			return err
		}
	}
	return nil
}

func (s *maildirStore) remarkOne(k flagChange) error {
	f, ok := s.file(k.where)
	if !ok {
		return nil // gone; the ledger says so
	}
	base, info := maildir.Split(f.name)
	changed := maildir.Apply(info, k.add, k.remove)
	if changed == info && !f.new {
		return nil
	}
	sep := s.m.a.marker.Separator
	if i := len(base); i < len(f.name) {
		sep = f.name[i : i+1]
	}
	to := maildirFile{base + sep + "2," + changed, f.size, false}
	if err := s.m.a.fs.rename(s.path(f), s.path(to)); err != nil {
		return err
	}
	s.mu.Lock()
	s.seen[base] = to
	s.mu.Unlock()
	return nil
}

func (s *maildirStore) settle() {}

func (s *maildirStore) torn(list []placed, _ dedupe.Entry) (sound []placed, err error) {
	if err := s.look(false); err != nil {
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
		if p.rec.Adopted {
			continue // another program put it there, and changed it since
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
