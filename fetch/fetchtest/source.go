package fetchtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// An Expected is one message that a Source must have.
type Expected struct {
	Mailbox      string
	UID          string    // "": not compared
	Octets       []byte    // as the Source must give them; for POP3 see AsPOP3
	Flags        []string  // compared if the Source keeps flags, in any order
	InternalDate time.Time // compared with its zone if the Source keeps flags; zero: not compared

	// Unreadable means that the server lists the message but does not give its
	// octets: the Source must name it as a failure.
	Unreadable bool
}

// Bounds of time within one check.
const (
	checkTime = 60 * time.Second
	promptly  = 5 * time.Second
)

// TestSource checks a Source against the contract written at fetch.Source. open
// is called once for each check and returns a Source that nobody used yet; the
// suite closes it. want is all it has, by mailbox in the server's order: the
// Source must have at least these mailboxes, and nothing in any other.
//
// The server behind it must not change meanwhile, and at least two messages of
// one mailbox must be readable.
func TestSource(t *testing.T, open func(t *testing.T) fetch.Source, want []Expected) {
	t.Helper()
	for _, check := range sourceChecks {
		t.Run(check.name, func(t *testing.T) {
			for _, problem := range check.against(open(t), want) {
				t.Error(problem)
			}
		})
	}
}

type sourceCheck struct {
	name string
	run  func(*sourceTest)
}

var sourceChecks = []sourceCheck{
	{"mailboxes", (*sourceTest).mailboxes},
	{"list", (*sourceTest).list},
	{"list stopped", (*sourceTest).listStopped},
	{"changes", (*sourceTest).changes},
	{"fetch", (*sourceTest).fetch},
	{"fetch again", (*sourceTest).fetchAgain},
	{"fetch some backwards", (*sourceTest).fetchSome},
	{"fetch half read", (*sourceTest).fetchHalfRead},
	{"fetch stopped", (*sourceTest).fetchStopped},
	{"fetch what is gone", (*sourceTest).fetchGone},
	{"fetch with another UIDVALIDITY", (*sourceTest).fetchChanged},
	{"heads", (*sourceTest).heads},
	{"heads stopped", (*sourceTest).headsStopped},
	{"cancelled before", (*sourceTest).cancelledBefore},
	{"cancelled within", (*sourceTest).cancelledWithin},
	{"close at once", (*sourceTest).closeAtOnce},
}

// against runs one check and returns what is wrong.
func (c sourceCheck) against(src fetch.Source, want []Expected) []string {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	t := &sourceTest{ctx: ctx, src: src, want: want}
	c.run(t)
	t.closeTwice()
	return t.problems
}

// A sourceTest is one check of one Source.
type sourceTest struct {
	ctx      context.Context
	src      fetch.Source
	want     []Expected
	mu       sync.Mutex // a faulty Source may call from anywhere
	problems []string
}

func (t *sourceTest) errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// A listing is a mailbox with what List told, beside what was expected.
type listing struct {
	mailbox fetch.Mailbox
	state   fetch.State
	listed  []fetch.Listed
	want    []Expected
}

// expected returns what a mailbox must hold.
func (t *sourceTest) expected(mailbox string) []Expected {
	var all []Expected
	for _, e := range t.want {
		if e.Mailbox == mailbox {
			all = append(all, e)
		}
	}
	return all
}

// listings lists every mailbox that can be selected. Mailboxes of which the
// list is not what was expected are reported and left out.
func (t *sourceTest) listings() []listing {
	mailboxes, err := t.src.Mailboxes(t.ctx)
	if err != nil {
		t.errorf("Mailboxes: %v", err)
		return nil
	}
	var all []listing
	for _, m := range mailboxes {
		if !m.Selectable {
			continue
		}
		l := listing{mailbox: m, want: t.expected(m.Name)}
		l.state, l.listed, err = t.listed(m)
		switch {
		case err != nil:
			t.errorf("List(%s): %v", m.Name, err)
		case len(l.listed) != len(l.want):
			t.errorf("List(%s): %d messages, want %d", m.Name, len(l.listed), len(l.want))
		default:
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		t.errorf("no mailbox could be listed")
	}
	return all
}

func (t *sourceTest) listed(m fetch.Mailbox) (fetch.State, []fetch.Listed, error) {
	var all []fetch.Listed
	state, err := t.src.List(t.ctx, m, func(l fetch.Listed) error {
		all = append(all, l)
		return nil
	})
	return state, all, err
}

// readable returns the listed messages whose octets can be had.
func (l listing) readable() []fetch.Listed {
	var all []fetch.Listed
	for i, listed := range l.listed {
		if !l.want[i].Unreadable {
			all = append(all, listed)
		}
	}
	return all
}

// key identifies a listed message within one mailbox of one session.
type key struct {
	uid     string
	ordinal int
	num     uint32
}

func keyOf(l fetch.Listed) key {
	if l.UID == "" {
		return key{num: l.Num}
	}
	return key{uid: l.UID, ordinal: l.Ordinal}
}

// find returns what is expected of a message that fn was called with.
func (l listing) find(got fetch.Listed) (Expected, bool) {
	for i, listed := range l.listed {
		if keyOf(listed) == keyOf(got) {
			return l.want[i], true
		}
	}
	return Expected{}, false
}

// outcome is how each message of one Fetch ended.
type outcome struct {
	got      map[key]int // fn returned nil
	failures map[key]fetch.Failure
	err      error
}

// fetchThem fetches messages and compares what can be compared in every
// Fetch: no call beside another, none for a message that was not wanted,
// octets equal. read returns the octets of a message, or nil if the check does
// not read them to the end.
func (t *sourceTest) fetchThem(l listing, wanted []fetch.Listed, read func(i int, r io.Reader) ([]byte, error)) outcome {
	f := outcome{got: make(map[key]int), failures: make(map[key]fetch.Failure)}
	var inside atomic.Int32
	calls := 0
	failures, err := t.src.Fetch(t.ctx, l.mailbox, l.state, wanted, func(got fetch.Listed, r io.Reader) error {
		defer inside.Add(-1)
		if inside.Add(1) != 1 {
			t.errorf("Fetch(%s): fn was called while another call was not over", l.mailbox.Name)
			return errStop
		}
		if calls++; calls <= 3 {
			time.Sleep(2 * time.Millisecond) // gives a second caller the time to come in
		}
		e, ok := l.find(got)
		if !ok || !slices.ContainsFunc(wanted, func(w fetch.Listed) bool { return keyOf(w) == keyOf(got) }) {
			t.errorf("Fetch(%s): fn was called for UID %q, which was not wanted", l.mailbox.Name, got.UID)
			return nil
		}
		octets, err := read(calls-1, r)
		if err != nil {
			return err
		}
		f.got[keyOf(got)]++
		if octets != nil {
			t.compare(l.mailbox.Name, got, octets, e)
		}
		return nil
	})
	f.err = err
	for _, failure := range failures {
		if failure.Err == nil && !failure.Gone {
			t.errorf("Fetch(%s): UID %q failed without an error", l.mailbox.Name, failure.Listed.UID)
		}
		if _, twice := f.failures[keyOf(failure.Listed)]; twice {
			t.errorf("Fetch(%s): UID %q is named twice", l.mailbox.Name, failure.Listed.UID)
		}
		f.failures[keyOf(failure.Listed)] = failure
	}
	t.accounted(l, wanted, f)
	return f
}

// accounted checks that each message ended in exactly one way.
func (t *sourceTest) accounted(l listing, wanted []fetch.Listed, f outcome) {
	for _, w := range wanted {
		k := keyOf(w)
		_, failed := f.failures[k]
		switch n := f.got[k]; {
		case n > 1:
			t.errorf("Fetch(%s): UID %q was taken %d times", l.mailbox.Name, w.UID, n)
		case n == 1 && failed:
			t.errorf("Fetch(%s): UID %q was taken and is named as failed", l.mailbox.Name, w.UID)
		case n == 0 && !failed && f.err == nil:
			t.errorf("Fetch(%s): UID %q was neither taken nor named", l.mailbox.Name, w.UID)
		}
	}
}

func (t *sourceTest) compare(mailbox string, got fetch.Listed, octets []byte, want Expected) {
	if !bytes.Equal(octets, want.Octets) {
		at := 0
		for at < min(len(octets), len(want.Octets)) && octets[at] == want.Octets[at] {
			at++
		}
		t.errorf("Fetch(%s): UID %q: %d octets, want %d; the first difference is at %d", mailbox, got.UID, len(octets), len(want.Octets), at)
	}
	if t.src.Facts().KeepsFlags && !want.InternalDate.IsZero() {
		_, zone := got.InternalDate.Zone()
		_, wantZone := want.InternalDate.Zone()
		if !got.InternalDate.Equal(want.InternalDate) || zone != wantZone {
			t.errorf("Fetch(%s): UID %q: INTERNALDATE %v, want %v", mailbox, got.UID, got.InternalDate, want.InternalDate)
		}
	}
}

func readAll(_ int, r io.Reader) ([]byte, error) {
	octets, err := io.ReadAll(r)
	if octets == nil {
		octets = []byte{}
	}
	if err == nil {
		// A reader that has ended stays ended.
		if n, again := r.Read(make([]byte, 1)); n != 0 || again != io.EOF {
			return nil, fmt.Errorf("fetchtest: after io.EOF the reader gave %d octets and %v", n, again)
		}
	}
	return octets, err
}

func (t *sourceTest) mailboxes() {
	got, err := t.src.Mailboxes(t.ctx)
	if err != nil {
		t.errorf("Mailboxes: %v", err)
		return
	}
	seen := make(map[string]bool)
	for _, m := range got {
		if seen[m.Name] {
			t.errorf("Mailboxes: %q twice", m.Name)
		}
		seen[m.Name] = true
		if n := len(t.expected(m.Name)); m.Status != nil && m.Selectable && m.Status.Messages != uint32(n) {
			t.errorf("Mailboxes: %q has %d messages, want %d", m.Name, m.Status.Messages, n)
		}
	}
	for _, e := range t.want {
		if !seen[e.Mailbox] {
			t.errorf("Mailboxes: no %q", e.Mailbox)
			seen[e.Mailbox] = true
		}
	}
	if p := t.src.Facts().Protocol; p == "" {
		t.errorf("Facts: no protocol")
	}
}

func (t *sourceTest) list() {
	keeps := t.src.Facts().KeepsFlags
	for _, l := range t.listings() {
		name := l.mailbox.Name
		if l.state.Messages != uint32(len(l.listed)) {
			t.errorf("List(%s): State says %d messages, told were %d", name, l.state.Messages, len(l.listed))
		}
		seen := make(map[key]bool)
		for i, got := range l.listed {
			if seen[keyOf(got)] {
				t.errorf("List(%s): UID %q ordinal %d twice", name, got.UID, got.Ordinal)
			}
			seen[keyOf(got)] = true
			if want := l.want[i].UID; want != "" && got.UID != want {
				t.errorf("List(%s): message %d has UID %q, want %q", name, i+1, got.UID, want)
			}
			if keeps && !equalFlags(got.Flags, l.want[i].Flags) {
				t.errorf("List(%s): UID %q has flags %q, want %q", name, got.UID, got.Flags, l.want[i].Flags)
			}
		}
		state, again, err := t.listed(l.mailbox)
		if err != nil {
			t.errorf("second List(%s): %v", name, err)
			continue
		}
		if state != l.state {
			t.errorf("second List(%s): %+v, at first %+v", name, state, l.state)
		}
		if !slices.EqualFunc(again, l.listed, func(a, b fetch.Listed) bool {
			return keyOf(a) == keyOf(b) && a.Size == b.Size && equalFlags(a.Flags, b.Flags)
		}) {
			t.errorf("second List(%s) differs", name)
		}
	}
}

// equalFlags compares flags as sets; case does not count (RFC 9051 §2.3.2).
func equalFlags(a, b []string) bool {
	normal := func(flags []string) []string {
		all := make([]string, len(flags))
		for i, f := range flags {
			all[i] = strings.ToLower(f)
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(normal(a), normal(b))
}

var errStop = errors.New("fetchtest: stopped by the suite")

// ctxOrSession reports whether err is of the kinds that a Source may return.
func ctxOrSession(err error) bool {
	var e *session.Error
	return errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
