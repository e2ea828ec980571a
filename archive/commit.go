package archive

import (
	"slices"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// A batch is bounded by whichever comes first.
const (
	batchMessages  = 500
	batchMailboxes = 100 // an mbox is open and locked while its batch is committed
	batchRecords   = 5000
	batchOctets    = 4 << 20 // held in memory; larger messages wait in the spool
	batchSpooled   = 256 << 20
	batchAge       = 2 * time.Second
)

// batch is a bounded number of changes that become durable together.
type batch struct {
	messages []*message
	boxes    []*boxBatch // in the order in which mailboxes joined
	memory   []byte      // the octets of messages that are not in the spool
	spooled  int64
	records  int
	begun    time.Time
	done     chan struct{} // closed when it is durable, or will never be
}

type boxBatch struct {
	m        *Mailbox
	records  []*record // in order; those of messages stand among them
	messages []*message
	marks    []flagChange
	setState bool
	state    []byte
}

func (b *batch) box(m *Mailbox) *boxBatch {
	for i := len(b.boxes) - 1; i >= 0; i-- {
		if b.boxes[i].m.kept == m.kept {
			return b.boxes[i]
		}
	}
	bb := &boxBatch{m: m}
	b.boxes = append(b.boxes, bb)
	return bb
}

// committer commits one batch while the next one fills. current, add,
// addMessage, setState and seal are called with a.mu held; all but seal may let
// go of it for a while if no batch is open.
type committer struct {
	a       *Archive
	open    *batch
	queue   chan *batch
	free    chan []byte                  // memory of batches that are done
	pending map[dedupe.Digest][]*message // by Canonical: not in the index yet
	last    *batch                       // the youngest that was sealed
	err     error                        // what ended the archive
	stopped chan struct{}
}

func newCommitter(a *Archive) *committer {
	c := &committer{a: a, queue: make(chan *batch, 3), free: make(chan []byte, 3), pending: map[dedupe.Digest][]*message{}, stopped: make(chan struct{})}
	for range cap(c.free) {
		c.free <- nil // made when first needed
	}
	go func() {
		defer close(c.stopped)
		for b := range c.queue {
			c.run(b)
		}
	}()
	return c
}

func (c *committer) stop() {
	close(c.queue)
	<-c.stopped
}

func (c *committer) current() *batch {
	if c.open == nil {
		// Without memory to spare the network waits for the disk here.
		c.a.mu.Unlock()
		memory := <-c.free
		c.a.mu.Lock()
		if c.open != nil { // another account was quicker
			c.free <- memory
			return c.open
		}
		c.open = &batch{memory: memory[:0], begun: time.Now(), done: make(chan struct{})}
	}
	return c.open
}

func (c *committer) add(m *Mailbox, r *record) error {
	b := c.current()
	bb := b.box(m)
	bb.records = append(bb.records, r)
	b.records++
	return c.seal(false)
}

func (c *committer) addMessage(msg *message, octets []byte, f form) error {
	b := c.current()
	if msg.spool != "" {
		b.spooled += msg.rec.Length
	} else {
		if b.memory == nil {
			b.memory = make([]byte, 0, batchOctets+maxInMemory)
		}
		from := len(b.memory)
		if f == formCRLF {
			b.memory = appendLF(b.memory, octets)
		} else {
			b.memory = append(b.memory, octets...)
		}
		msg.octets = b.memory[from:len(b.memory):len(b.memory)]
		msg.rec.Length = int64(len(msg.octets))
	}
	bb := b.box(msg.m)
	bb.records = append(bb.records, msg.rec)
	bb.messages = append(bb.messages, msg)
	b.messages = append(b.messages, msg)
	b.records++
	c.pending[msg.fp.Canonical] = append(c.pending[msg.fp.Canonical], msg)
	return c.seal(false)
}

func (c *committer) setState(m *Mailbox, state []byte) {
	bb := c.current().box(m)
	bb.setState, bb.state = true, state
}

// seal hands the open batch over if it is full, or whatever it holds if force.
func (c *committer) seal(force bool) error {
	b := c.open
	if b == nil {
		return c.err
	}
	full := len(b.messages) >= batchMessages || b.records >= batchRecords || len(b.memory) >= batchOctets ||
		b.spooled >= batchSpooled || len(b.boxes) >= batchMailboxes || time.Since(b.begun) > batchAge
	if !force && !full {
		return c.err
	}
	c.open, c.last = nil, b
	// This never blocks: there are no more batches than places in the queue,
	// because each needs its memory. That a.mu is held keeps the order in which
	// records were added.
	c.queue <- b
	return c.err
}

// Flush returns when everything added before is durable.
func (a *Archive) Flush() error {
	a.mu.Lock()
	if a.committer == nil {
		a.mu.Unlock()
		return nil
	}
	err := a.committer.seal(true)
	last := a.committer.last
	a.mu.Unlock()
	if err != nil || last == nil {
		return err
	}
	<-last.done
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.committer.err
}

func (c *committer) run(b *batch) {
	c.a.mu.Lock()
	err := c.err
	c.a.mu.Unlock()
	if err == nil && len(b.boxes) > 0 {
		err = c.commit(b)
	}
	c.a.mu.Lock()
	if err != nil && c.err == nil {
		// What failed is not tried again here: a second sync after a failed one
		// proves nothing. The next run fetches these messages anew.
		c.err = failure(c.a.fs.path, err)
	}
	for _, msg := range b.messages {
		list := c.pending[msg.fp.Canonical]
		for i, p := range list {
			if p == msg {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		if len(list) == 0 {
			delete(c.pending, msg.fp.Canonical)
		} else {
			c.pending[msg.fp.Canonical] = list
		}
	}
	c.a.mu.Unlock()
	close(b.done)
	c.free <- b.memory
}

// commit makes a batch durable. Its order is the promise of this package:
// octets in the spool and records in the journals are on the disk before any
// message appears under its name, and the index learns of them last.
func (c *committer) commit(b *batch) error {
	d := c.a.fs
	phases := []struct {
		name string
		do   func(*batch) error
	}{
		{"spool", c.prepare},
		{"journal", c.journal},
		{"sync", func(*batch) error { return d.sync.files() }},
		{"publish", c.publish},
		{"sync again", func(*batch) error { return d.sync.files() }},
		{"record", c.record},
	}
	c.a.mboxBuf = c.a.mboxBuf[:0]
	defer func() {
		for _, bb := range b.boxes {
			bb.m.store.settle()
		}
	}()
	for _, p := range phases {
		if err := d.step(p.name); err != nil {
			return err
		}
		if err := p.do(b); err != nil {
			return err
		}
	}
	return nil
}

func (c *committer) prepare(b *batch) error {
	for _, bb := range b.boxes {
		if len(bb.messages) == 0 {
			continue
		}
		if err := bb.m.store.prepare(bb.messages); err != nil {
			return err
		}
	}
	return nil
}

func (c *committer) journal(b *batch) error {
	var lines []byte
	now := time.Now().Unix()
	for _, bb := range b.boxes {
		if err := c.diffFlags(bb); err != nil {
			return err
		}
		lines = lines[:0]
		for _, r := range bb.records {
			r.At = now
			var err error
			if lines, err = appendLine(lines, r); err != nil {
				return err
			}
		}
		if len(lines) == 0 {
			continue
		}
		if err := c.a.appendLines(journalName(bb.m.id), lines); err != nil {
			return err
		}
		bb.m.journalEnd += int64(len(lines))
	}
	return nil
}

// diffFlags finds what changed on the server since it was last asked. Only
// that is carried into the store.
func (c *committer) diffFlags(bb *boxBatch) error {
	return c.a.index.View(func(tx *dedupe.Tx) error {
		before := map[uint32]string{} // by the records of this batch itself
		for _, r := range bb.records {
			if r.Type != "flags" {
				continue
			}
			if e, ok := tx.Entry(bb.m.id, r.Seq); ok {
				if flags, again := before[r.Seq]; again {
					e.Flags = flags
				}
				before[r.Seq] = dedupe.FlagString(stringsOf(r.Flags))
				add, remove := diff(e.Flags, stringsOf(r.Flags))
				bb.marks = append(bb.marks, flagChange{e.Where, add, remove})
			}
		}
		return nil
	})
}

func (c *committer) publish(b *batch) error {
	for _, bb := range b.boxes {
		if len(bb.messages) == 0 && len(bb.marks) == 0 {
			continue
		}
		if err := bb.m.store.publish(bb.messages, bb.marks); err != nil {
			return err
		}
	}
	return nil
}

func (c *committer) record(b *batch) error {
	return c.a.index.Update(func(tx *dedupe.Tx) error {
		for _, bb := range b.boxes {
			for _, r := range bb.records {
				if err := bb.m.apply(tx, r); err != nil {
					return err
				}
			}
			p := tx.Progress(bb.m.id)
			p.Journal = bb.m.journalEnd
			if err := tx.SetProgress(bb.m.id, p); err != nil {
				return err
			}
			if bb.setState {
				if err := tx.SetState(bb.m.id, bb.state); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// apply enters one record of the mailbox's journal into the index. Commits
// and rebuilds go through here alike.
func (m *Mailbox) apply(tx *dedupe.Tx, r *record) error {
	switch r.Type {
	case "message":
		p := tx.Progress(m.id)
		seq := r.number(&p.Records)
		if err := tx.SetProgress(m.id, p); err != nil {
			return err
		}
		e := r.entry(seq)
		if old, ok := tx.Entry(m.id, seq); ok {
			e.Origins = old.Origins
			if r.Origin != nil {
				if _, known := tx.Origin(m.id, r.Origin.origin(m.account, m.info.Name)); !known {
					e.Origins++
				}
			}
			if err := tx.Drop(m.id, seq); err != nil {
				return err
			}
		}
		if err := tx.Put(m.id, e); err != nil {
			return err
		}
		return m.bind(tx, seq, r.Origin)
	case "moved":
		e, ok := tx.Entry(m.id, r.Seq)
		if !ok {
			return nil
		}
		e.Offset, e.Length = r.Offset, r.Length
		if r.File != "" {
			e.Where = string(r.File)
		}
		return tx.Put(m.id, e)
	case "origin":
		e, ok := tx.Entry(m.id, r.Seq)
		if !ok || r.Origin == nil {
			return nil
		}
		if b, known := tx.Origin(m.id, r.Origin.origin(m.account, m.info.Name)); !known || b.Seq != r.Seq {
			e.Origins++
			if err := tx.Put(m.id, e); err != nil {
				return err
			}
		}
		return m.bind(tx, r.Seq, r.Origin)
	case "flags":
		e, ok := tx.Entry(m.id, r.Seq)
		if !ok {
			return nil
		}
		e.Flags = dedupe.FlagString(stringsOf(r.Flags))
		return tx.Put(m.id, e)
	case "gone":
		if r.Origin == nil {
			return nil
		}
		o := r.Origin.origin(m.account, m.info.Name)
		b, ok := tx.Origin(m.id, o)
		if !ok {
			return nil
		}
		b.Gone = true
		return tx.Bind(m.id, o, b)
	case "use":
		return tx.SetUse(m.id, string(r.Use))
	case "void":
		for _, seq := range r.Void {
			if err := tx.Drop(m.id, seq); err != nil {
				return err
			}
		}
	}
	return nil // "mailbox" and what a later version may write
}

func (m *Mailbox) bind(tx *dedupe.Tx, seq uint32, o *originR) error {
	if o == nil {
		return nil
	}
	if o.Same != "" {
		if err := tx.BindSame(m.account, o.Epoch, string(o.Same), dedupe.Ref{Mailbox: m.id, Seq: seq}); err != nil {
			return err
		}
	}
	return tx.Bind(m.id, o.origin(m.account, m.info.Name), dedupe.Bound{Seq: seq, Size: o.Size, NotCompared: o.NotCompared})
}

// diff compares two FlagStrings.
func diff(before string, after []string) (add, remove []string) {
	old := strings.Fields(before)
	for _, f := range after {
		if !slices.Contains(old, f) {
			add = append(add, f)
		}
	}
	for _, f := range old {
		if !slices.Contains(after, f) {
			remove = append(remove, f)
		}
	}
	return add, remove
}
