package archive

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// Mailbox is one mailbox of the archive as one account's run sees it. It is
// used by one goroutine at a time; of one mailbox there may be several, in use
// at once: two accounts can share a place (see Enroll).
type Mailbox struct {
	*kept
	epoch  uint32          // of the run; 0 where no account is at work
	listed map[uint32]bool // messages the server's current list holds: they must not be taken for one another; owned by whoever holds a.mu
}

// kept is what there is of a mailbox once, however many use it.
type kept struct {
	a       *Archive
	id      uint32
	account string
	info    MailboxInfo
	path    string // of the folder or .mbox file, relative to the root
	store   store
	adopted bool // its journal was lost, its name is read off its path
	pending bool // it may hold messages without a record, to be taken up first; see takeUp

	nextSeq    uint32 // of the next message record; owned by whoever holds a.mu
	journalEnd int64  // octets of the journal; the committer's, once a batch has the mailbox in it
}

// MailboxInfo is what the server says of a mailbox itself.
type MailboxInfo struct {
	Name       string // true name, UTF-8 or the octets themselves
	Delimiter  string
	SpecialUse string
}

// SyncState is what a mailbox looked like at the end of the last run that
// dealt with every message of it. It lives in the index alone: losing it costs
// a listing, nothing else.
type SyncState struct {
	Epoch         uint32
	UIDValidity   uint32
	UIDNext       uint32
	Messages      uint32
	HighestModSeq uint64
}

// store is how one format keeps the messages of one mailbox.
//
// prepare, publish and settle are called by the committer alone, at most once
// each for a batch and in this order; between prepare and publish the journal
// is written and synced. settle is called also for a mailbox, and after an
// error, that saw no prepare.
type store interface {
	look(again bool) error                             // read what is on the disk, again even if that was done before; called before the first present
	present(e dedupe.Entry) bool                       // e's file is there with the recorded size
	open(e dedupe.Entry) (io.ReadCloser, error)        // the stored octets of the message itself; fs.ErrNotExist if they are nowhere
	prepare(list []*message) error                     // bring octets to the spool, settle where each message will stand
	publish(list []*message, marks []flagChange) error // let them appear
	settle()                                           // give back what prepare took

	// torn says, after a crash, which of these records reached their place.
	// What did not is set aside where it can be told from what others wrote.
	// list is what the index does not know yet, in the order of places; before is
	// the last of what it does know, its Length 0 if there is nothing.
	torn(list []placed, before dedupe.Entry) (sound []placed, err error)

	// foreign calls fn for what is there without a record: by base name, or offsetKey.
	foreign(recorded map[string]bool, fn func(found) error) error
}

// flagChange is a change of flags in a store.
type flagChange struct {
	where       string
	add, remove []string
}

// placed is a message record whose place is to be checked after a crash.
type placed struct {
	rec   *record
	seq   uint32
	order int // of its record
}

// found is something in a store that no record speaks of.
type found struct {
	path   string
	offset int64
	length int64
	where  string
	flags  []string
	date   time.Time
	open   func() (io.ReadCloser, error)
}

func mailboxKey(account, name string) string { return account + "\x00" + name }

func journalName(id uint32) string { return fmt.Sprintf("%s/%06d.log", journalDir, id) }

// loadMailboxes reads the first record of each journal.
func (a *Archive) loadMailboxes() error {
	return a.fs.entries(journalDir, func(e fs.DirEntry) error {
		n, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ".log"), 10, 32)
		if err != nil || !strings.HasSuffix(e.Name(), ".log") {
			return nil
		}
		id := uint32(n)
		a.nextID = max(a.nextID, id+1)
		name := journalDir + "/" + e.Name()
		head, err := a.journalHead(name)
		if err != nil {
			return err
		}
		if head == nil { // begun by a run that was cut short, or its first lines are damaged
			if f, err := a.fs.open(name); err == nil {
				err = a.keepAside(f, "journal")
				f.Close()
				if err != nil {
					return err
				}
			}
			a.note(NoteTornJournal, name, 1)
			return a.fs.remove(name)
		}
		a.enter(id, head)
		return nil
	})
}

func (a *Archive) journalHead(name string) (*record, error) {
	f, err := a.fs.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readHead(f)
}

// readHead returns the record of a journal that names its mailbox, or nil if
// there is none. It stands first; only an adopted mailbox may be named again
// further down.
func readHead(r io.Reader) (*record, error) {
	var head *record
	_, _, err := readJournal(r, 0, func(rec *record, _ int64) error {
		if rec.Type == "mailbox" {
			head = rec
		}
		if head == nil || !head.Adopted {
			return io.EOF
		}
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	return head, err
}

func (a *Archive) enter(id uint32, head *record) *Mailbox {
	m := &Mailbox{listed: map[uint32]bool{}, kept: &kept{
		a: a, id: id, account: string(head.Account), path: string(head.Path),
		info:    MailboxInfo{string(head.Mailbox), string(head.Delimiter), string(head.Use)},
		nextSeq: 1, adopted: head.Adopted,
	}}
	if a.marker.Format == Maildir {
		m.store = newMaildirStore(m)
	} else {
		m.store = newMboxStore(m)
	}
	a.mailboxes[mailboxKey(m.account, m.info.Name)] = m
	a.byID[id] = m
	a.folded[foldPath(m.path)] = id
	return m
}

// Mailbox returns a mailbox of an enrolled account, and begins it if it is new.
func (a *Archive) Mailbox(acc Enrolled, info MailboxInfo) (*Mailbox, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.mailboxes[mailboxKey(acc.Name, info.Name)]
	if m == nil {
		var err error
		if m, err = a.newMailbox(acc.Name, info); err != nil {
			return nil, failure(info.Name, err)
		}
	}
	if err := m.takeUp(); err != nil {
		return nil, failure(m.path, err)
	}
	m = &Mailbox{kept: m.kept, epoch: acc.Epoch, listed: map[uint32]bool{}}
	if m.info.SpecialUse != info.SpecialUse && info.SpecialUse != "" {
		m.info.SpecialUse = info.SpecialUse
		if err := a.committer.add(m, &record{Type: "use", Use: text(info.SpecialUse)}); err != nil {
			return nil, err
		}
	}
	if err := m.store.look(false); err != nil {
		return nil, failure(m.path, err)
	}
	return m, nil
}

func (a *Archive) newMailbox(account string, info MailboxInfo) (*Mailbox, error) {
	path := mailboxPath(account, info.Name, info.Delimiter, a.marker.Format == Mbox)
	if m := a.byID[a.folded[foldPath(path)]]; m != nil && m.adopted && m.path == path && m.account == account {
		return m, a.claim(m, info)
	}
	for n, p := 2, path; ; n++ {
		if _, twin := a.folded[foldPath(path)]; !twin {
			break
		}
		path = twinPath(p, n)
	}
	head := &record{
		Type: "mailbox", Version: formatVersion, At: time.Now().Unix(), Account: text(account), Mailbox: text(info.Name),
		Delimiter: text(info.Delimiter), Use: text(info.SpecialUse), Path: text(path),
	}
	return a.beginJournal(head)
}

// claim gives a mailbox whose journal had been lost its true name back.
func (a *Archive) claim(m *Mailbox, info MailboxInfo) error {
	delete(a.mailboxes, mailboxKey(m.account, m.info.Name))
	m.info, m.adopted = info, false
	a.mailboxes[mailboxKey(m.account, info.Name)] = m
	head := &record{
		Type: "mailbox", Version: formatVersion, At: time.Now().Unix(), Account: text(m.account), Mailbox: text(info.Name),
		Delimiter: text(info.Delimiter), Use: text(info.SpecialUse), Path: text(m.path),
	}
	if err := m.appendRecords(head); err != nil {
		return err
	}
	return m.enterAll([]*record{head})
}

// Path is where the mailbox lies, relative to the archive.
func (m *Mailbox) Path() string { return m.path }

// A Query asks about one message of a server's list.
type Query struct {
	UIDValidity uint32
	UID         string
	Ordinal     int
	Size        int64  // as listed; -1 if not said
	Same        string // X-GM-MSGID or EMAILID
}

// An Answer says what the archive knows about one message of a server's list.
type Answer struct {
	Held    bool      // recorded under this origin, its file seen in this run, the listed size as recorded
	Seq     uint32    // of the message the origin leads to, held or not; 0 if the origin is unknown
	Flags   string    // FlagString of the server's flags when it was last asked
	Origins int       // how many origins lead to it
	Gone    bool      // it was recorded as no longer listed
	Date    time.Time // INTERNALDATE, or the message's own date; zero if neither is known
}

// Tally counts held messages.
type Tally struct {
	Held           int
	Oldest, Newest time.Time // zero if not known
}

func (m *Mailbox) origin(q Query) dedupe.Origin {
	return dedupe.Origin{Account: m.account, Epoch: m.epoch, Mailbox: m.info.Name, UIDValidity: q.UIDValidity, UID: q.UID, Ordinal: q.Ordinal}
}

// Ask answers n queries from one consistent view. A message that is answered
// as held counts from now on as listed side by side with the others.
func (m *Mailbox) Ask(n int, query func(i int) Query, answer func(i int, a Answer)) error {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	var back []*record // origins that had gone, and are listed again
	err := m.a.index.View(func(tx *dedupe.Tx) error {
		for i := range n {
			q := query(i)
			b, known := tx.Origin(m.id, m.origin(q))
			if !known || q.UID == "" {
				answer(i, Answer{})
				continue
			}
			e, ok := tx.Entry(m.id, b.Seq)
			ans := Answer{Seq: b.Seq, Gone: b.Gone, Flags: e.Flags, Origins: e.Origins, Date: e.Date}
			ans.Held = ok && (q.Size < 0 || b.Size < 0 || q.Size == b.Size) && m.store.present(e)
			if ans.Held {
				m.listed[b.Seq] = true
				if b.Gone {
					r := m.originRecord(q)
					r.Size, r.NotCompared = b.Size, b.NotCompared
					back = append(back, &record{Type: "origin", Seq: b.Seq, Origin: r})
				}
			}
			answer(i, ans)
		}
		return nil
	})
	if err != nil {
		return failure(indexFile, err)
	}
	for _, r := range back {
		if err := m.a.committer.add(m, r); err != nil {
			return err
		}
	}
	return nil
}

// CountHeld counts the messages that the server listed at the end of the last
// complete run and that are still held, for a mailbox known to be unchanged.
func (m *Mailbox) CountHeld(uidValidity uint32) (t Tally, err error) {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Origins(m.id, m.epoch, uidValidity, func(_ []byte, b dedupe.Bound) error {
			if b.Gone {
				return nil
			}
			e, ok := tx.Entry(m.id, b.Seq)
			if !ok || !m.store.present(e) {
				return nil
			}
			m.listed[b.Seq] = true
			t.Held++
			if !e.Date.IsZero() && (t.Oldest.IsZero() || e.Date.Before(t.Oldest)) {
				t.Oldest = e.Date
			}
			if e.Date.After(t.Newest) {
				t.Newest = e.Date
			}
			return nil
		})
	})
	return t, failure(indexFile, err)
}

// Vanish records which origins of this UIDVALIDITY the server no longer
// lists: those that are not among the n queries, which must be its whole list.
func (m *Mailbox) Vanish(uidValidity uint32, n int, query func(i int) Query) (gone int, err error) {
	keys := make(map[string]struct{}, n)
	for i := range n {
		if q := query(i); q.UID != "" {
			keys[string(dedupe.OriginKey(m.origin(q)))] = struct{}{}
		}
	}
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	var lost []string
	err = m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Origins(m.id, m.epoch, uidValidity, func(key []byte, b dedupe.Bound) error {
			if _, ok := keys[string(key)]; !ok && !b.Gone {
				lost = append(lost, string(key))
			}
			return nil
		})
	})
	if err != nil {
		return 0, failure(indexFile, err)
	}
	for _, k := range lost {
		o := dedupe.ParseOriginKey([]byte(k))
		err := m.a.committer.add(m, &record{Type: "gone", Origin: &originR{Epoch: o.Epoch, UIDValidity: o.UIDValidity, UID: text(o.UID), Ordinal: o.Ordinal}})
		if err != nil {
			return 0, err
		}
	}
	return len(lost), nil
}

// LastState returns what SetState kept, and whether there is anything.
func (m *Mailbox) LastState() (s SyncState, ok bool) {
	m.a.index.View(func(tx *dedupe.Tx) error {
		ok = json.Unmarshal(tx.State(m.id), &s) == nil
		return nil
	})
	return s, ok && s.Epoch == m.epoch
}

// SetState keeps s once everything added before is durable. A nil s forgets.
func (m *Mailbox) SetState(s *SyncState) {
	var octets []byte
	if s != nil {
		s.Epoch = m.epoch
		octets, _ = json.Marshal(s)
	}
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	m.a.committer.setState(m, octets)
}

// SetFlags records the flags the server has now for a message, and takes over
// what changed since it was last asked. Marks that a mail program made in the
// archive itself stay. Like BindAgain and SetState it leaves failures to Flush.
func (m *Mailbox) SetFlags(seq uint32, flags []string) {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	m.a.committer.add(m, &record{Type: "flags", Seq: seq, Flags: texts(flags)})
}

// BindAgain records that an origin leads to a held message without its body
// having been compared.
func (m *Mailbox) BindAgain(q Query, seq uint32) {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	r := m.originRecord(q)
	if r == nil {
		return
	}
	r.NotCompared = true
	m.listed[seq] = true
	m.a.committer.add(m, &record{Type: "origin", Seq: seq, Origin: r})
}

// originRecord is nil for a message its server has no name for.
func (m *Mailbox) originRecord(q Query) *originR {
	if q.UID == "" {
		return nil
	}
	return &originR{Epoch: m.epoch, UIDValidity: q.UIDValidity, UID: text(q.UID), Ordinal: q.Ordinal, Size: q.Size, Same: text(q.Same)}
}

// Unbound calls fn for each held message that nothing the server lists now
// leads to: those a changed UIDVALIDITY or a lost list of unique-ids left
// without an origin. size is the size the server last listed, or -1.
func (m *Mailbox) Unbound(fn func(seq uint32, octets int64, header dedupe.Digest)) error {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	return failure(indexFile, m.a.index.View(func(tx *dedupe.Tx) error {
		return tx.Entries(m.id, func(e dedupe.Entry) error {
			if !m.listed[e.Seq] && m.store.present(e) {
				fn(e.Seq, e.Size, e.Header)
			}
			return nil
		})
	}))
}
