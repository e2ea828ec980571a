package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// A world is what a server holds, over several runs.
type world struct {
	pop   bool
	boxes []*worldBox
	n     int // messages made so far
}

type worldBox struct {
	name     string
	validity uint32
	next     uint32
	modSeq   uint64
	msgs     []*worldMessage
}

type worldMessage struct {
	uid    string
	octets []byte
	flags  []string
	modSeq uint64
}

// add puts a message that no other equals, in length either, or again one that
// is there.
func (w *world) add(t *rapid.T, b *worldBox) {
	m := &worldMessage{uid: strconv.Itoa(int(b.next)), flags: rapid.SampledFrom([][]string{nil, {`\Seen`}, {`\Seen`, "$Work"}}).Draw(t, "flags")}
	if w.pop {
		m.uid = rapid.SampledFrom([]string{"u" + m.uid, "u" + m.uid, "twin", ""}).Draw(t, "unique-id")
	}
	b.next++
	b.modSeq++
	m.modSeq = b.modSeq
	w.n++
	m.octets = fmt.Appendf(nil, "From: a@example.jp\r\nSubject: s\r\n\r\n%d %s\r\n", w.n, strings.Repeat("x", w.n))
	if w.pop { // as hard as it can be made: headers and sizes are equal too
		m.octets = fmt.Appendf(nil, "From: a@example.jp\r\nSubject: s\r\n\r\n%09d\r\n", w.n)
	}
	if len(b.msgs) > 0 && rapid.IntRange(0, 4).Draw(t, "again") == 0 {
		m.octets = rapid.SampledFrom(b.msgs).Draw(t, "which").octets
	}
	b.msgs = append(b.msgs, m)
}

// renumber gives the mailbox another UIDVALIDITY and its messages other UIDs.
func (b *worldBox) renumber() {
	b.validity++
	for _, m := range b.msgs {
		m.uid = strconv.Itoa(int(b.next))
		b.next++
	}
}

// setBack lets the server have lost count.
func (b *worldBox) setBack(modSeq uint64) {
	b.modSeq = modSeq
	for _, m := range b.msgs {
		m.modSeq = min(m.modSeq, modSeq)
	}
}

// change is what happens on the server between two runs, and within one.
func (w *world) change(t *rapid.T, b *worldBox) {
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0, 1:
		w.add(t, b)
	case 2:
		if len(b.msgs) > 0 && !w.pop { // who of twins has gone POP3 cannot tell
			i := rapid.IntRange(0, len(b.msgs)-1).Draw(t, "expunge")
			b.msgs = slices.Delete(b.msgs, i, i+1)
			b.modSeq++
		}
	case 3:
		if len(b.msgs) > 0 {
			b.modSeq++
			m := rapid.SampledFrom(b.msgs).Draw(t, "flagged")
			m.flags, m.modSeq = []string{`\Answered`}, b.modSeq
		}
	case 4:
		if !w.pop {
			b.renumber()
		}
	case 5:
		if w.pop {
			b.msgs = rapid.Permutation(b.msgs).Draw(t, "order")
		} else {
			b.setBack(1)
		}
	}
}

// misbehaving is a Source over a world. It keeps the contract of Source, and
// where it does not, that is what Pull must survive.
type misbehaving struct {
	t      *rapid.T
	w      *world
	faults int // per cent
	cancel func()

	listed  map[string][]shownMessage // the last list, or what it would have been
	fetched int                       // messages asked for
}

type shownMessage struct {
	uid    string
	octets []byte
}

func (s *misbehaving) wrong(what string) bool {
	return s.faults > 0 && rapid.IntRange(0, 99).Draw(s.t, what) < s.faults
}

func (s *misbehaving) fault(reach session.Reach) error {
	return &session.Error{Class: session.ClassProtocol, Reach: reach, Reason: "drawn"}
}

func (s *misbehaving) box(m fetch.Mailbox) *worldBox {
	for _, b := range s.w.boxes {
		if b.name == m.Name {
			return b
		}
	}
	return nil
}

func (s *misbehaving) state(b *worldBox) fetch.State {
	if s.w.pop {
		return fetch.State{Messages: uint32(len(b.msgs))}
	}
	return fetch.State{UIDValidity: b.validity, UIDNext: b.next, Messages: uint32(len(b.msgs)), HighestModSeq: b.modSeq}
}

func (s *misbehaving) Mailboxes(context.Context) ([]fetch.Mailbox, error) {
	if s.wrong("no LIST") {
		return nil, s.fault(session.ReachAccount)
	}
	var list []fetch.Mailbox
	for _, b := range s.w.boxes {
		m := fetch.Mailbox{Name: b.name, Selectable: !s.wrong("unselectable")}
		if !s.wrong("no STATUS") {
			st := s.state(b)
			if s.wrong("a STATUS of no use") {
				st = fetch.State{Messages: 77}
			}
			m.Status = &st
		}
		list = append(list, m)
		if s.wrong("named twice") {
			list = append(list, m)
		}
	}
	return list, nil
}

func (s *misbehaving) List(_ context.Context, m fetch.Mailbox, fn func(fetch.Listed) error) (fetch.State, error) {
	b := s.box(m)
	s.listed[m.Name] = nil
	if s.wrong("vanished") {
		return fetch.State{}, s.fault(session.ReachMailbox)
	}
	if s.wrong("cancelled") {
		s.cancel()
	}
	ordinals := map[string]int{}
	for i, x := range b.msgs {
		if s.wrong("half a list") {
			return s.state(b), s.fault(rapid.SampledFrom([]session.Reach{session.ReachMailbox, session.ReachAccount}).Draw(s.t, "reach"))
		}
		l := s.list(x)
		if s.w.pop {
			l.Num = uint32(i + 1)
			l.Ordinal = ordinals[x.uid]
			if x.uid != "" {
				ordinals[x.uid]++
			}
		}
		s.listed[m.Name] = append(s.listed[m.Name], shownMessage{x.uid, x.octets})
		if err := fn(l); err != nil {
			return s.state(b), err
		}
	}
	return s.state(b), nil
}

func (s *misbehaving) list(x *worldMessage) fetch.Listed {
	l := fetch.Listed{UID: x.uid, Size: int64(len(x.octets)), Flags: x.flags}
	if s.wrong("size") {
		l.Size = rapid.SampledFrom([]int64{-1, 0, l.Size * 1000}).Draw(s.t, "lie")
	}
	if !s.w.pop && s.faults > 0 {
		l.SameAs = rapid.SampledFrom([]string{"", "all the same", "M" + strconv.Itoa(len(x.octets))}).Draw(s.t, "same as")
	}
	return l
}

func (s *misbehaving) Changes(_ context.Context, m fetch.Mailbox, last fetch.State, fn func(fetch.Listed) error) (fetch.State, error) {
	b := s.box(m)
	if b.validity != last.UIDValidity {
		return s.state(b), fetch.ErrChanged
	}
	if s.wrong("no changes") {
		return s.state(b), s.fault(rapid.SampledFrom([]session.Reach{session.ReachMailbox, session.ReachAccount}).Draw(s.t, "reach"))
	}
	for _, x := range b.msgs {
		if last.HighestModSeq > 0 && x.modSeq <= last.HighestModSeq {
			continue
		}
		if err := fn(fetch.Listed{UID: x.uid, Flags: x.flags}); err != nil {
			return s.state(b), err
		}
	}
	return s.state(b), nil
}

func (s *misbehaving) Fetch(ctx context.Context, m fetch.Mailbox, state fetch.State, want []fetch.Listed, fn func(fetch.Listed, io.Reader) error) (failures []fetch.Failure, err error) {
	b := s.box(m)
	s.fetched += len(want)
	numbers := slices.Clone(b.msgs)
	if s.faults > 0 {
		want = rapid.Permutation(want).Draw(s.t, "answers")
	}
	for _, l := range want {
		if ctx.Err() != nil {
			return failures, ctx.Err()
		}
		if s.wrong("meanwhile") && !s.w.pop {
			s.w.change(s.t, b)
		}
		if b.validity != state.UIDValidity {
			return failures, fetch.ErrChanged
		}
		var x *worldMessage
		for i, y := range b.msgs {
			if !s.w.pop && y.uid == l.UID || s.w.pop && numbers[l.Num-1] == b.msgs[i] {
				x = y
			}
		}
		if x == nil {
			failures = append(failures, fetch.Failure{Listed: l, Gone: true})
			continue
		}
		l.InternalDate = date
		switch {
		case s.wrong("refused"):
			failures = append(failures, fetch.Failure{Listed: l, Err: &session.Error{Reason: "refused"}})
			continue
		case s.wrong("torn"):
			torn := errors.New("torn")
			if err := fn(l, io.MultiReader(bytes.NewReader(x.octets[:5]), failing{torn})); err == nil {
				s.t.Fatal("Pull took half a message")
			} else if !errors.Is(err, torn) {
				return failures, err
			}
			failures = append(failures, fetch.Failure{Listed: l, Err: &session.Error{Reason: "torn"}})
			continue
		case s.wrong("broken"):
			return failures, s.fault(rapid.SampledFrom([]session.Reach{session.ReachMailbox, session.ReachAccount}).Draw(s.t, "reach"))
		case s.wrong("cancelled"):
			s.cancel()
		case s.wrong("not asked for"):
			if err := fn(fetch.Listed{UID: "4711", Num: 4711}, strings.NewReader("not asked for")); err != nil {
				return failures, err
			}
		}
		if err := fn(l, bytes.NewReader(x.octets)); err != nil {
			return failures, err
		}
		if s.wrong("again") {
			if err := fn(l, strings.NewReader("answered again")); err != nil {
				return failures, err
			}
		}
	}
	return failures, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (s *misbehaving) Heads(_ context.Context, m fetch.Mailbox, _ fetch.State, want []fetch.Listed, fn func(fetch.Listed, []byte) error) error {
	b := s.box(m)
	if s.faults > 0 {
		want = rapid.Permutation(want).Draw(s.t, "answers")
	}
	for _, l := range want {
		if s.wrong("broken") {
			return s.fault(rapid.SampledFrom([]session.Reach{session.ReachMailbox, session.ReachAccount}).Draw(s.t, "reach"))
		}
		for i, x := range b.msgs {
			if (s.w.pop && int(l.Num) == i+1 || !s.w.pop && x.uid == l.UID) && !s.wrong("no header") {
				if err := fn(l, x.octets[:bytes.Index(x.octets, []byte("\r\n\r\n"))+4]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *misbehaving) Facts() fetch.Facts {
	return fetch.Facts{Protocol: "imap", KeepsFlags: !s.w.pop, ExpireDays: -1}
}
func (s *misbehaving) Close() error { return nil }
func (s *misbehaving) Drop()        {}

// TestPullOfServersThatMisbehave runs Pull again and again over servers that do
// what they should not.
func TestPullOfServersThatMisbehave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "fumibako")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		w := &world{pop: rapid.Bool().Draw(t, "pop")}
		names := []string{"INBOX", "Work", "Sent"}
		if w.pop {
			names = names[:1]
		}
		for _, name := range names {
			b := &worldBox{name: name, next: 1, modSeq: 1}
			if !w.pop {
				b.validity = 1
			}
			w.boxes = append(w.boxes, b)
			for range rapid.IntRange(0, 4).Draw(t, "messages") {
				w.add(t, b)
			}
		}
		for range rapid.IntRange(1, 4).Draw(t, "runs") {
			w.run(t, dir, rapid.SampledFrom([]int{0, 3, 10, 30}).Draw(t, "faults"))
			for _, b := range w.boxes {
				if rapid.Bool().Draw(t, "changed") {
					w.change(t, b)
				}
			}
		}
		// When all is well again, one run makes it whole and the next does nothing.
		l, _ := w.run(t, dir, 0)
		if !complete(l) {
			t.Fatalf("not complete: %+v", l)
		}
		w.run(t, dir, 0)
		l, fetched := w.run(t, dir, 0)
		if s := sum(l); fetched != 0 || s.New != 0 || s.Duplicate != 0 || s.Flags != 0 || !complete(l) {
			t.Fatalf("a run with nothing to do fetched %d: %+v", fetched, s)
		}
	})
}

func complete(l *fetch.Ledger) bool {
	for _, m := range l.Mailboxes {
		if m.Err != nil || m.Server != m.Held+m.LeftOut {
			return false
		}
	}
	return l.Err == nil && l.ListedAll
}

// run is one run, and demands of its ledger that it is true.
func (w *world) run(t *rapid.T, dir string, faults int) (*fetch.Ledger, int) {
	a, err := archive.Open(dir, archive.Options{Create: true, Format: archive.Maildir})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	src := &misbehaving{t: t, w: w, faults: faults, cancel: cancel, listed: map[string][]shownMessage{}}
	o := fetch.Options{}
	left := 0
	o.Observer.Planned = func(p fetch.Plan) { left = p.Messages }
	o.Observer.Message = func() { left-- }
	if !w.pop && rapid.IntRange(0, 3).Draw(t, "rebind") == 0 {
		o.Rebind = true
	}
	if faults > 0 && rapid.IntRange(0, 5).Draw(t, "exclude") == 0 {
		o.Exclude = func(m fetch.Mailbox) bool { return m.Name == "Work" }
	}
	l := fetch.Pull(ctx, src, a, archive.Account{Name: "x", Protocol: "imap", Host: "h", User: "u"}, o)
	if faults == 0 && left != 0 {
		t.Fatalf("progress ends %d messages before its end", left)
	}
	v, err := a.Verify(context.Background(), archive.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range v.Mailboxes {
		if m.Sound != m.Messages || len(m.Foreign) > 0 {
			t.Fatalf("verify: %+v", m)
		}
	}
	for _, m := range l.Mailboxes {
		w.judge(t, dir, src, m)
	}
	return l, src.fetched
}

func (w *world) judge(t *rapid.T, dir string, src *misbehaving, m fetch.MailboxLedger) {
	if m.Server != m.Held+len(m.Missing)+m.Unlisted+m.LeftOut || min(m.Server, m.Held, m.LeftOut, m.New, m.Duplicate) < 0 {
		t.Fatalf("does not add up: %+v", m)
	}
	files := heldIn(t, filepath.Join(dir, "x", m.Name))
	for octets, n := range files {
		if n > 1 || strings.HasPrefix(octets, "not asked") || strings.HasPrefix(octets, "answered") {
			t.Fatalf("%s: held %d times: %q", m.Name, n, octets)
		}
	}
	listed, read := src.listed[m.Name]
	if m.Excluded || (m.Err != nil || !read && !m.Unchanged) && m.Held == 0 {
		return // the run did not come to it, and says so
	}
	if !read {
		for _, x := range src.box(fetch.Mailbox{Name: m.Name}).msgs {
			listed = append(listed, shownMessage{x.uid, x.octets})
		}
	}
	named := map[string]bool{}
	nameless := w.pop && len(m.Missing) > 0
	for _, n := range slices.Concat(m.Missing, m.Gone) {
		named[n.UID] = true
		nameless = nameless || n.UID == ""
	}
	held := 0
	for _, x := range listed {
		if files[string(x.octets)] > 0 {
			held++
		} else if !named[x.uid] && !nameless {
			t.Fatalf("%s: %q is neither held nor named: %+v", m.Name, x.uid, m)
		}
	}
	if held < m.Held {
		t.Fatalf("%s: %d are held: %+v", m.Name, held, m)
	}
}

// heldIn reads a Maildir by itself, and counts the messages by their octets.
func heldIn(t *rapid.T, dir string) map[string]int {
	held := map[string]int{}
	for _, sub := range []string{"cur", "new"} {
		files, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, f := range files {
			octets, err := os.ReadFile(filepath.Join(dir, sub, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			held[strings.ReplaceAll(string(octets), "\n", "\r\n")]++
		}
	}
	return held
}
