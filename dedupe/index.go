package dedupe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Index is what is known about the messages of one archive: which origins
// lead to which message, and which messages are equal. It is derived from the
// archive's journals and can be rebuilt from them at any time.
//
// An Index may be used by several goroutines: any number of View, one Update.
type Index struct {
	db      *bbolt.DB
	damaged atomic.Bool
}

// Entry is one message of one mailbox.
type Entry struct {
	Seq uint32 // the number of its record in the mailbox's journal, from 1
	Fingerprint
	Version byte      // of the Fingerprint's definition
	Where   string    // Maildir: the file's base name; mbox: ""
	Offset  int64     // mbox: where the entry begins
	Length  int64     // octets stored: of the file, or of the whole mbox entry
	Form    byte      // the archive's own note on how the octets are stored
	Date    time.Time // INTERNALDATE with the server's zone, else the message's own date; zero if neither is known
	Flags   string    // flags the server had when it was last asked: sorted, one space between
	Origins int       // how many origins lead here
}

// Bound is what one origin leads to.
type Bound struct {
	Seq         uint32
	Size        int64 // as the server listed it; -1 if it did not
	NotCompared bool  // bound by size and header only; the body was never read
	Gone        bool  // no longer listed by the server
}

// Ref names a message anywhere in the archive.
type Ref struct {
	Mailbox uint32
	Seq     uint32
}

// Progress says how far the index has followed a mailbox's journal.
type Progress struct {
	Journal int64  // octets of the journal that are in the index
	Records uint32 // the highest number of a message among them
}

// ErrDamaged means that the index cannot be used and must be rebuilt.
var ErrDamaged = errors.New("dedupe: index damaged")

const indexVersion = "2"

var (
	bucketMeta    = []byte("meta")
	bucketMailbox = []byte("mailbox") // id -> {m: seq -> Entry, o: origin -> Bound, j: Progress, s: state, u: special use, p: pending}
	bucketCanon   = []byte("canon")   // canonical[:16] mailbox seq -> nothing
	bucketContent = []byte("content") // content[:16] mailbox seq -> nothing, where it is not the canonical digest
	bucketSame    = []byte("same")    // account epoch name -> mailbox seq
	keyMessages   = []byte("m")
	keyOrigins    = []byte("o")
	keyProgress   = []byte("j")
	keyState      = []byte("s")
	keyUse        = []byte("u")
	keyPending    = []byte("p")
	keyVersion    = []byte("version")
	keyWhole      = []byte("whole")
)

// OpenIndex opens or creates the index in the file at path. It waits at most
// two seconds for another process. A file that is no index, or was written by
// another version, gives ErrDamaged.
func OpenIndex(path string) (x *Index, err error) {
	defer guard(&err)()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 2 * time.Second, FreelistType: bbolt.FreelistMapType, PageSize: 4096})
	if err != nil {
		if errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch) {
			err = fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		return nil, err
	}
	// Writing costs two syncs, which a run with nothing new should not pay.
	began := false
	err = db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return nil
		}
		began = true
		if v := string(meta.Get(keyVersion)); v != indexVersion {
			return fmt.Errorf("%w: version %q", ErrDamaged, v)
		}
		return nil
	})
	if err == nil && !began {
		err = db.Update(begin)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Index{db: db}, nil
}

func begin(tx *bbolt.Tx) error {
	for _, b := range [][]byte{bucketMeta, bucketMailbox, bucketCanon, bucketContent, bucketSame} {
		if _, err := tx.CreateBucket(b); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketMeta).Put(keyVersion, []byte(indexVersion))
}

// Path is the file the index is in.
func (x *Index) Path() string { return x.db.Path() }

// Distrust says that the index contradicts the journals: it counts as damaged.
func (x *Index) Distrust() { x.damaged.Store(true) }

// Damaged reports whether the index was found to be damaged while it was used.
// Its file is then of no use to anybody.
func (x *Index) Damaged() bool { return x.damaged.Load() }

// note remembers an ErrDamaged.
func (x *Index) note(err *error) {
	if errors.Is(*err, ErrDamaged) {
		x.damaged.Store(true)
	}
}

// Close closes the file.
func (x *Index) Close() error { return x.db.Close() }

// Check reports ErrDamaged if the file's structure is broken. It reads the whole index.
func (x *Index) Check() (err error) {
	defer x.note(&err)
	defer guard(&err)()
	return x.db.View(func(tx *bbolt.Tx) error {
		var first error
		for e := range tx.Check() { // to the end: the sender waits
			if first == nil {
				first = fmt.Errorf("%w: %v", ErrDamaged, e)
			}
		}
		return first
	})
}

// View calls fn with the index as it is now. The Tx is valid only inside fn.
func (x *Index) View(fn func(*Tx) error) (err error) {
	defer x.note(&err)
	defer guard(&err)()
	return x.db.View(func(tx *bbolt.Tx) error { return fn(&Tx{tx: tx}) })
}

// Update calls fn and makes its changes durable together, or none of them.
func (x *Index) Update(fn func(*Tx) error) (err error) {
	defer x.note(&err)
	defer guard(&err)()
	return x.db.Update(func(tx *bbolt.Tx) error { return fn(&Tx{tx: tx}) })
}

// guard turns a panic of bbolt on a damaged file, and the fault of a mapped
// page whose disk is gone, into ErrDamaged: the process must live to say so.
func guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}
}

// Tx is one consistent view of an Index.
type Tx struct {
	tx      *bbolt.Tx
	mailbox map[uint32]*box
}

type box struct{ top, messages, origins *bbolt.Bucket }

func (t *Tx) box(id uint32, create bool) *box {
	if b := t.mailbox[id]; b != nil {
		return b
	}
	all := t.tx.Bucket(bucketMailbox)
	top := all.Bucket(be32(id))
	if top == nil {
		if !create {
			return nil
		}
		var err error
		if top, err = all.CreateBucket(be32(id)); err != nil {
			return nil
		}
		for _, k := range [][]byte{keyMessages, keyOrigins} {
			if _, err := top.CreateBucket(k); err != nil {
				return nil
			}
		}
	}
	b := &box{top, top.Bucket(keyMessages), top.Bucket(keyOrigins)}
	// Records arrive in the order of their keys; the value lives in memory only.
	b.messages.FillPercent, b.origins.FillPercent = 0.9, 0.9
	if t.mailbox == nil {
		t.mailbox = map[uint32]*box{}
	}
	t.mailbox[id] = b
	return b
}

// Entry returns message seq of a mailbox.
func (t *Tx) Entry(mailbox, seq uint32) (Entry, bool) {
	b := t.box(mailbox, false)
	if b == nil {
		return Entry{}, false
	}
	v := b.messages.Get(be32(seq))
	if v == nil {
		return Entry{}, false
	}
	e, ok := decodeEntry(v)
	e.Seq = seq
	return e, ok
}

// Entries calls fn for each message of a mailbox, in the order of Seq.
func (t *Tx) Entries(mailbox uint32, fn func(Entry) error) error {
	b := t.box(mailbox, false)
	if b == nil {
		return nil
	}
	return b.messages.ForEach(func(k, v []byte) error {
		e, ok := decodeEntry(v)
		if !ok || len(k) != 4 {
			return ErrDamaged
		}
		e.Seq = binary.BigEndian.Uint32(k)
		return fn(e)
	})
}

// Origin returns what an origin of a mailbox leads to.
func (t *Tx) Origin(mailbox uint32, o Origin) (Bound, bool) {
	b := t.box(mailbox, false)
	if b == nil {
		return Bound{}, false
	}
	return decodeBound(b.origins.Get(originKey(o)))
}

// Origins calls fn for each origin of a mailbox within one epoch and
// UIDVALIDITY, in the order of the index; key is valid only inside fn and is
// equal to OriginKey of the origin.
func (t *Tx) Origins(mailbox, epoch, uidValidity uint32, fn func(key []byte, b Bound) error) error {
	b := t.box(mailbox, false)
	if b == nil {
		return nil
	}
	prefix := binary.BigEndian.AppendUint32(be32(epoch), uidValidity)
	c := b.origins.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		bound, ok := decodeBound(v)
		if !ok {
			return ErrDamaged
		}
		if err := fn(k, bound); err != nil {
			return err
		}
	}
	return nil
}

// AllOrigins calls fn for what each origin of a mailbox leads to.
func (t *Tx) AllOrigins(mailbox uint32, fn func(Bound)) error {
	b := t.box(mailbox, false)
	if b == nil {
		return nil
	}
	return b.origins.ForEach(func(_, v []byte) error {
		bound, ok := decodeBound(v)
		if !ok {
			return ErrDamaged
		}
		fn(bound)
		return nil
	})
}

// Canonical lists the messages with this Canonical digest, in every mailbox.
func (t *Tx) Canonical(d Digest) []Ref { return t.refs(bucketCanon, d) }

// Content lists the messages with this Content digest, in every mailbox, those
// whose Content is their Canonical digest included.
func (t *Tx) Content(d Digest) []Ref {
	return append(t.refs(bucketContent, d), t.refs(bucketCanon, d)...)
}

func (t *Tx) refs(bucket []byte, d Digest) []Ref {
	var refs []Ref
	c := t.tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(d[:16]); len(k) == 24 && bytes.HasPrefix(k, d[:16]); k, _ = c.Next() {
		refs = append(refs, Ref{binary.BigEndian.Uint32(k[16:]), binary.BigEndian.Uint32(k[20:])})
	}
	return refs
}

// Same returns the message the server of an account calls name
// (X-GM-MSGID or EMAILID).
func (t *Tx) Same(account string, epoch uint32, name string) (Ref, bool) {
	v := t.tx.Bucket(bucketSame).Get(sameKey(account, epoch, name))
	if len(v) != 8 {
		return Ref{}, false
	}
	return Ref{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])}, true
}

// Whole reports what SetWhole said last; false if it said nothing yet.
func (t *Tx) Whole() bool { return t.tx.Bucket(bucketMeta).Get(keyWhole) != nil }

// SetWhole records whether the index has once followed every journal to its
// end. Until it has, an entry that is missing means nothing.
func (t *Tx) SetWhole(whole bool) error {
	if !whole {
		return t.tx.Bucket(bucketMeta).Delete(keyWhole)
	}
	return t.tx.Bucket(bucketMeta).Put(keyWhole, []byte{1})
}

// LastEpoch is the highest epoch among the origins of a mailbox, 0 if it has none.
func (t *Tx) LastEpoch(mailbox uint32) uint32 {
	b := t.box(mailbox, false)
	if b == nil {
		return 0
	}
	k, _ := b.origins.Cursor().Last()
	if len(k) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(k)
}

// Mailboxes lists the mailboxes that the index knows anything about.
func (t *Tx) Mailboxes() (ids []uint32) {
	c := t.tx.Bucket(bucketMailbox).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) == 4 {
			ids = append(ids, binary.BigEndian.Uint32(k))
		}
	}
	return ids
}

// Progress says how far the index has followed a mailbox's journal.
func (t *Tx) Progress(mailbox uint32) Progress {
	b := t.box(mailbox, false)
	if b == nil {
		return Progress{}
	}
	v := b.top.Get(keyProgress)
	if len(v) != 12 {
		return Progress{}
	}
	return Progress{int64(binary.BigEndian.Uint64(v)), binary.BigEndian.Uint32(v[8:])}
}

// State returns the octets SetState kept for a mailbox, or nil.
func (t *Tx) State(mailbox uint32) []byte {
	b := t.box(mailbox, false)
	if b == nil {
		return nil
	}
	return bytes.Clone(b.top.Get(keyState))
}

// Pending returns what SetPending said last.
func (t *Tx) Pending(mailbox uint32) bool {
	b := t.box(mailbox, false)
	return b != nil && b.top.Get(keyPending) != nil
}

// SetPending records whether there may be messages of a mailbox that no record
// speaks of, and that must be looked for before anything is added to it.
func (t *Tx) SetPending(mailbox uint32, pending bool) error {
	b := t.box(mailbox, true)
	if b == nil {
		return ErrDamaged
	}
	if !pending {
		return b.top.Delete(keyPending)
	}
	return b.top.Put(keyPending, []byte{1})
}

// Use returns the special use SetUse kept for a mailbox.
func (t *Tx) Use(mailbox uint32) (string, bool) {
	b := t.box(mailbox, false)
	if b == nil {
		return "", false
	}
	v := b.top.Get(keyUse)
	return string(v), v != nil
}

// SetUse keeps the special use of a mailbox (RFC 6154).
func (t *Tx) SetUse(mailbox uint32, use string) error {
	b := t.box(mailbox, true)
	if b == nil {
		return ErrDamaged
	}
	return b.top.Put(keyUse, []byte(use))
}

// Put enters a message, or replaces the entry with the same Seq.
func (t *Tx) Put(mailbox uint32, e Entry) error {
	b := t.box(mailbox, true)
	if b == nil {
		return ErrDamaged
	}
	if err := b.messages.Put(be32(e.Seq), encodeEntry(e)); err != nil {
		return err
	}
	if err := t.tx.Bucket(bucketCanon).Put(refKey(e.Canonical, mailbox, e.Seq), nil); err != nil {
		return err
	}
	if e.Content == e.Canonical {
		return nil
	}
	return t.tx.Bucket(bucketContent).Put(refKey(e.Content, mailbox, e.Seq), nil)
}

// Drop removes a message that is superseded or was never there. Origins that
// lead to it stay, and lead nowhere.
func (t *Tx) Drop(mailbox, seq uint32) error {
	e, ok := t.Entry(mailbox, seq)
	if !ok {
		return nil
	}
	if err := t.box(mailbox, true).messages.Delete(be32(seq)); err != nil {
		return err
	}
	if err := t.tx.Bucket(bucketCanon).Delete(refKey(e.Canonical, mailbox, seq)); err != nil {
		return err
	}
	return t.tx.Bucket(bucketContent).Delete(refKey(e.Content, mailbox, seq))
}

// Bind lets an origin lead to a message.
func (t *Tx) Bind(mailbox uint32, o Origin, bound Bound) error {
	b := t.box(mailbox, true)
	if b == nil {
		return ErrDamaged
	}
	return b.origins.Put(originKey(o), encodeBound(bound))
}

// BindSame lets a server's name for equal messages lead to a message.
func (t *Tx) BindSame(account string, epoch uint32, name string, r Ref) error {
	return t.tx.Bucket(bucketSame).Put(sameKey(account, epoch, name), binary.BigEndian.AppendUint32(be32(r.Mailbox), r.Seq))
}

// SetProgress records how far the index has followed a mailbox's journal.
func (t *Tx) SetProgress(mailbox uint32, p Progress) error {
	b := t.box(mailbox, true)
	if b == nil {
		return ErrDamaged
	}
	return b.top.Put(keyProgress, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, uint64(p.Journal)), p.Records))
}

// SetState keeps a few octets for a mailbox; nil forgets them.
func (t *Tx) SetState(mailbox uint32, state []byte) error {
	b := t.box(mailbox, true)
	if b == nil {
		return ErrDamaged
	}
	if state == nil {
		return b.top.Delete(keyState)
	}
	return b.top.Put(keyState, state)
}

// Forget drops all that is known about a mailbox.
func (t *Tx) Forget(mailbox uint32) error {
	var all []uint32
	if err := t.Entries(mailbox, func(e Entry) error {
		all = append(all, e.Seq)
		return nil
	}); err != nil {
		return err
	}
	for _, seq := range all {
		if err := t.Drop(mailbox, seq); err != nil {
			return err
		}
	}
	delete(t.mailbox, mailbox)
	err := t.tx.Bucket(bucketMailbox).DeleteBucket(be32(mailbox))
	if errors.Is(err, berrors.ErrBucketNotFound) {
		return nil
	}
	return err
}
