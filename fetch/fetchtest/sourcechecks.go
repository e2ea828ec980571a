package fetchtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
)

func (t *sourceTest) listStopped() {
	for _, l := range t.listings() {
		if len(l.listed) == 0 {
			continue
		}
		calls := 0
		_, err := t.src.List(t.ctx, l.mailbox, func(fetch.Listed) error {
			calls++
			return errStop
		})
		if err != errStop || calls != 1 {
			t.errorf("List(%s): fn stopped it, but it was called %d times and List returned %v", l.mailbox.Name, calls, err)
		}
		return // what a stopped List leaves of the session is its own affair
	}
}

func (t *sourceTest) changes() {
	for _, l := range t.listings() {
		told := 0
		state, err := t.src.Changes(t.ctx, l.mailbox, l.state, func(got fetch.Listed) error {
			told++
			i := slices.IndexFunc(l.listed, func(o fetch.Listed) bool { return o.UID == got.UID })
			if i < 0 {
				t.errorf("Changes(%s): UID %q was never listed", l.mailbox.Name, got.UID)
			} else if !equalFlags(got.Flags, l.listed[i].Flags) {
				t.errorf("Changes(%s): UID %q has flags %q, listed were %q", l.mailbox.Name, got.UID, got.Flags, l.listed[i].Flags)
			}
			return nil
		})
		if err != nil {
			t.errorf("Changes(%s): %v", l.mailbox.Name, err)
			continue
		}
		if state.UIDValidity != l.state.UIDValidity || state.Messages != l.state.Messages {
			t.errorf("Changes(%s): %+v, listed was %+v", l.mailbox.Name, state, l.state)
		}
		if told > 0 && !t.src.Facts().KeepsFlags {
			t.errorf("Changes(%s): a Source without flags told %d messages", l.mailbox.Name, told)
		}
	}
}

func (t *sourceTest) fetch() {
	for _, l := range t.listings() {
		t.fetchWhole(l)
	}
}

// fetchWhole fetches everything in a mailbox: what is readable must come and
// what is not must be named.
func (t *sourceTest) fetchWhole(l listing) {
	f := t.fetchThem(l, l.listed, readAll)
	if f.err != nil {
		t.errorf("Fetch(%s): %v", l.mailbox.Name, f.err)
		return
	}
	for i, listed := range l.listed {
		if failure, failed := f.failures[keyOf(listed)]; failed != l.want[i].Unreadable {
			t.errorf("Fetch(%s): UID %q failed: %t (%v)", l.mailbox.Name, listed.UID, failed, failure.Err)
		} else if failed && failure.Gone {
			t.errorf("Fetch(%s): UID %q is named as gone, but is still listed", l.mailbox.Name, listed.UID)
		}
	}
}

func (t *sourceTest) fetchAgain() {
	for range 2 {
		for _, l := range t.listings() {
			t.fetchWhole(l)
			t.fetchWhole(l)
		}
	}
}

func (t *sourceTest) fetchSome() {
	for _, l := range t.listings() {
		if f := t.fetchThem(l, nil, readAll); f.err != nil || len(f.got)+len(f.failures) > 0 {
			t.errorf("Fetch(%s) of nothing: %d taken, %d failed, %v", l.mailbox.Name, len(f.got), len(f.failures), f.err)
		}
		var some []fetch.Listed
		for i, listed := range slices.Backward(l.readable()) {
			if i%3 != 1 {
				some = append(some, listed)
			}
		}
		f := t.fetchThem(l, some, readAll)
		if f.err != nil || len(f.failures) > 0 {
			t.errorf("Fetch(%s) of %d: %d failed, %v", l.mailbox.Name, len(some), len(f.failures), f.err)
		}
	}
}

// fetchHalfRead leaves messages unread: those after them must be whole.
func (t *sourceTest) fetchHalfRead() {
	for _, l := range t.listings() {
		f := t.fetchThem(l, l.readable(), func(i int, r io.Reader) ([]byte, error) {
			switch i % 4 {
			case 0:
				return nil, nil
			case 2:
				_, err := io.ReadFull(r, make([]byte, 1))
				return nil, err
			}
			return readAll(i, r)
		})
		if f.err != nil || len(f.failures) > 0 {
			t.errorf("Fetch(%s): %d failed, %v", l.mailbox.Name, len(f.failures), f.err)
		}
	}
}

func (t *sourceTest) fetchStopped() {
	for _, l := range t.listings() {
		wanted := l.readable()
		if len(wanted) < 2 {
			continue
		}
		calls := 0
		_, err := t.src.Fetch(t.ctx, l.mailbox, l.state, wanted, func(fetch.Listed, io.Reader) error {
			calls++
			return errStop
		})
		if err != errStop || calls != 1 {
			t.errorf("Fetch(%s): fn stopped it, but it was called %d times and Fetch returned %v", l.mailbox.Name, calls, err)
		}
		return
	}
}

// fetchGone asks for a message that is not there between others. It must be
// named, and as gone, unless messages without a unique-id leave that open.
func (t *sourceTest) fetchGone() {
	for _, l := range t.listings() {
		wanted := l.readable()
		if len(wanted) < 2 || wanted[0].UID == "" {
			continue
		}
		ghost := wanted[0]
		ghost.UID, ghost.Ordinal, ghost.Num = "no-such-unique-id", 0, ghost.Num+100_000
		if l.state.UIDValidity != 0 {
			ghost.UID = strconv.FormatUint(uint64(l.state.UIDNext)+100_000, 10)
		}
		f := t.fetchThem(l, slices.Insert(slices.Clone(wanted), 1, ghost), readAll)
		unsure := slices.ContainsFunc(l.listed, func(o fetch.Listed) bool { return o.UID == "" })
		named, ok := f.failures[keyOf(ghost)]
		if f.err != nil || len(f.failures) != 1 || !ok || !named.Gone && !unsure {
			t.errorf("Fetch(%s) with a message that is gone: failures %v, %v", l.mailbox.Name, f.failures, f.err)
		}
	}
}

func (t *sourceTest) fetchChanged() {
	for _, l := range t.listings() {
		if l.state.UIDValidity == 0 || len(l.readable()) == 0 {
			continue
		}
		other := l
		other.state.UIDValidity++
		f := t.fetchThem(other, l.readable(), readAll)
		if !errors.Is(f.err, fetch.ErrChanged) || len(f.got) > 0 {
			t.errorf("Fetch(%s) with another UIDVALIDITY: %d taken, %v", l.mailbox.Name, len(f.got), f.err)
		}
		if f := t.fetchThem(l, l.readable(), readAll); f.err != nil {
			t.errorf("Fetch(%s) after ErrChanged: %v", l.mailbox.Name, f.err)
		}
	}
}

// heads checks that each header is the message up to its first empty line. A
// message without an empty line is all header: it is told whole or left out. A
// Source that cannot fetch headers may have none.
func (t *sourceTest) heads() {
	for _, l := range t.listings() {
		seen := make(map[key]bool)
		err := t.src.Heads(t.ctx, l.mailbox, l.state, l.listed, func(got fetch.Listed, head []byte) error {
			e, ok := l.find(got)
			end, _ := HeaderEnd(e.Octets)
			switch {
			case !ok || seen[keyOf(got)]:
				t.errorf("Heads(%s): UID %q twice, or not wanted", l.mailbox.Name, got.UID)
			case !bytes.Equal(head, e.Octets[:end]):
				t.errorf("Heads(%s): UID %q: %d octets that are not the first %d", l.mailbox.Name, got.UID, len(head), end)
			}
			seen[keyOf(got)] = true
			return nil
		})
		if err != nil {
			t.errorf("Heads(%s): %v", l.mailbox.Name, err)
		}
		for i, listed := range l.listed {
			if _, whole := HeaderEnd(l.want[i].Octets); whole && len(seen) > 0 && !seen[keyOf(listed)] && !l.want[i].Unreadable {
				t.errorf("Heads(%s): UID %q was left out", l.mailbox.Name, listed.UID)
			}
		}
		if f := t.fetchThem(l, l.readable(), readAll); f.err != nil {
			t.errorf("Fetch(%s) after Heads: %v", l.mailbox.Name, f.err)
		}
	}
}

func (t *sourceTest) headsStopped() {
	for _, l := range t.listings() {
		calls := 0
		err := t.src.Heads(t.ctx, l.mailbox, l.state, l.readable(), func(fetch.Listed, []byte) error {
			calls++
			return errStop
		})
		if calls > 0 {
			if err != errStop || calls != 1 {
				t.errorf("Heads(%s): fn stopped it, but it was called %d times and Heads returned %v", l.mailbox.Name, calls, err)
			}
			return
		}
	}
}

func (t *sourceTest) cancelledBefore() {
	all := t.listings()
	if len(all) == 0 {
		return
	}
	i := slices.IndexFunc(all, func(l listing) bool { return len(l.readable()) > 0 })
	l := all[max(i, 0)]
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	_, err := t.src.Fetch(ctx, l.mailbox, l.state, l.readable(), func(fetch.Listed, io.Reader) error {
		t.errorf("Fetch(%s): fn was called although ctx had ended", l.mailbox.Name)
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.errorf("Fetch(%s) with an ended ctx: %v", l.mailbox.Name, err)
	}
}

// cancelledWithin ends ctx while the first message is read. A Source that had
// received all of the rest by then may end as if nothing had happened.
func (t *sourceTest) cancelledWithin() {
	for _, l := range t.listings() {
		wanted := l.readable()
		if len(wanted) < 2 {
			continue
		}
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		calls, taken := 0, 0
		var since time.Time
		failures, err := t.src.Fetch(ctx, l.mailbox, l.state, wanted, func(_ fetch.Listed, r io.Reader) error {
			if calls++; calls == 1 {
				since = time.Now()
				cancel()
				taken++
				return nil
			}
			_, err := io.Copy(io.Discard, r)
			if err == nil {
				taken++
			}
			return err
		})
		if complete := err == nil && taken == len(wanted) && len(failures) == 0; !complete && !errors.Is(err, context.Canceled) {
			t.errorf("Fetch(%s) cancelled at the first message: %d calls, %d failures, %v", l.mailbox.Name, calls, len(failures), err)
		}
		if took := time.Since(since); took > promptly {
			t.errorf("Fetch(%s) went on for %v after ctx had ended", l.mailbox.Name, took)
		}
		return
	}
}

func (t *sourceTest) closeAtOnce() {}

func (t *sourceTest) closeTwice() {
	since := time.Now()
	err := t.src.Close()
	// A server that answers the goodbye by closing first leaves nothing to close.
	if err != nil && !errors.Is(err, net.ErrClosed) && !ctxOrSession(err) {
		t.errorf("Close: %v", err)
	}
	t.src.Close()
	if took := time.Since(since); took > promptly {
		t.errorf("Close took %v", took)
	}
}
