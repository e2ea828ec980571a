package fetch_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// scripted is a Source some of whose answers are a test's.
type scripted struct {
	fetch.Source
	mailboxes func([]fetch.Mailbox) []fetch.Mailbox
	list      func(m fetch.Mailbox) error // before the list
	fetch     func(m fetch.Mailbox, want []fetch.Listed, all func([]fetch.Listed) ([]fetch.Failure, error)) ([]fetch.Failure, error)
	heads     func(want []fetch.Listed) []fetch.Listed
}

func (s scripted) Mailboxes(ctx context.Context) ([]fetch.Mailbox, error) {
	list, err := s.Source.Mailboxes(ctx)
	if s.mailboxes != nil {
		list = s.mailboxes(list)
	}
	return list, err
}

func (s scripted) List(ctx context.Context, m fetch.Mailbox, fn func(fetch.Listed) error) (fetch.State, error) {
	if s.list != nil {
		if err := s.list(m); err != nil {
			return fetch.State{}, err
		}
	}
	return s.Source.List(ctx, m, fn)
}

func (s scripted) Fetch(ctx context.Context, m fetch.Mailbox, state fetch.State, want []fetch.Listed, fn func(fetch.Listed, io.Reader) error) ([]fetch.Failure, error) {
	all := func(want []fetch.Listed) ([]fetch.Failure, error) { return s.Source.Fetch(ctx, m, state, want, fn) }
	if s.fetch == nil {
		return all(want)
	}
	return s.fetch(m, want, all)
}

func (s scripted) Heads(ctx context.Context, m fetch.Mailbox, state fetch.State, want []fetch.Listed, fn func(fetch.Listed, []byte) error) error {
	if s.heads != nil {
		want = s.heads(want)
	}
	return s.Source.Heads(ctx, m, state, want, fn)
}

// scriptedRun is a run over w in which the Source is s.
func scriptedRun(t *testing.T, w *world, s scripted) run {
	return run{dir: t.TempDir(), acc: archive.Account{Name: "x", Protocol: "imap", Host: "h", User: "u"}, open: w.source(s)}
}

func (w *world) source(s scripted) func(context.Context) (fetch.Source, error) {
	return func(context.Context) (fetch.Source, error) {
		s.Source = &misbehaving{w: w, listed: map[string][]shownMessage{}}
		return s, nil
	}
}

// letters is a world of one mailbox with these messages, their UIDs from 1 on.
func letters(octets ...string) (*world, *worldBox) {
	b := &worldBox{name: "INBOX", validity: 1, next: 1, modSeq: 1}
	for _, o := range octets {
		b.put(o)
	}
	return &world{boxes: []*worldBox{b}}, b
}

func (b *worldBox) put(octets string) *worldMessage {
	m := &worldMessage{uid: number(int(b.next))[4:], octets: []byte(octets), modSeq: b.modSeq}
	b.next++
	b.msgs = append(b.msgs, m)
	return m
}

const (
	first  = "From: a@example.jp\r\n\r\nfirst\r\n"
	second = "From: a@example.jp\r\n\r\nother\r\n" // as long, and with the same header
	third  = "From: b@example.jp\r\n\r\nthe third\r\n"
)

func holds(t *testing.T, r run, mailbox string, want ...string) {
	t.Helper()
	var got []string
	files, err := filepath.Glob(filepath.Join(r.dir, "x", mailbox, "*", "*,S=*"))
	check(t, err)
	for _, f := range files {
		octets, err := os.ReadFile(f)
		check(t, err)
		got = append(got, strings.ReplaceAll(string(octets), "\n", "\r\n"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", mailbox, got, want)
	}
}

func refusal(l fetch.Listed) fetch.Failure {
	return fetch.Failure{Listed: l, Err: &session.Error{Class: session.ClassRefused, Reach: session.ReachMessage, Reason: "message-refused"}}
}

// A session may be lost after messages were named, and the next one find the
// mailbox renumbered.
func TestWhatWasNamedBeforeUIDValidityChangedIsNotCountedTwice(t *testing.T) {
	w, b := letters(first, second, third)
	s := scripted{fetch: func(_ fetch.Mailbox, want []fetch.Listed, all func([]fetch.Listed) ([]fetch.Failure, error)) ([]fetch.Failure, error) {
		if b.validity > 1 {
			return all(want)
		}
		_, err := all(want[:1])
		b.renumber()
		return []fetch.Failure{refusal(want[1]), {Listed: want[2], Gone: true}}, errors.Join(err, fetch.ErrChanged)
	}}
	r := scriptedRun(t, w, s)
	l := r.pull(t, t.Context())
	if got := sum(l); l.Err != nil || got.Server != 3 || got.Held != 3 || len(got.Missing)+len(got.Gone) > 0 {
		t.Errorf("%v %+v", l.Err, got)
	}
	holds(t, r, "INBOX", first, second, third)
}

func TestAnArchiveThatFailsInTheMiddleHoldsNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		after  error // what Fetch returns when the archive has failed
		listed error // and then List
	}{
		{"and the list goes on", nil, nil},
		{"and the mailbox is renumbered", fetch.ErrChanged, nil},
		{"and the mailbox is renumbered and cannot be listed", fetch.ErrChanged, &session.Error{Class: session.ClassRefused, Reach: session.ReachMailbox, Reason: "command-refused"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, b := letters(first, second, third)
			r := scriptedRun(t, w, scripted{})
			failed := false
			r.open = w.source(scripted{
				list: func(fetch.Mailbox) error {
					if failed {
						return c.listed
					}
					return nil
				},
				fetch: func(_ fetch.Mailbox, want []fetch.Listed, all func([]fetch.Listed) ([]fetch.Failure, error)) ([]fetch.Failure, error) {
					check(t, os.RemoveAll(filepath.Join(r.dir, ".fumibako", "journal")))
					_, err := all(want[:2])
					if failed = true; c.after != nil {
						b.renumber()
					}
					return []fetch.Failure{refusal(want[2])}, errors.Join(err, c.after)
				},
			})
			a, err := archive.Open(r.dir, archive.Options{Create: true})
			check(t, err)
			defer a.Close()
			src, _ := r.open(t.Context())
			l := fetch.Pull(t.Context(), src, a, r.acc, fetch.Options{})
			m := l.Mailboxes[0]
			var failure *archive.Error
			if !errors.As(l.Err, &failure) || m.Server != 3 || m.Held != 0 || m.New != 0 || len(m.Missing) != 3 || !l.Newest.IsZero() {
				t.Errorf("%v, newest %v, %+v", l.Err, l.Newest, m)
			}
		})
	}
}

func TestNoHeadersAreAskedForWhenTheAccountHasEnded(t *testing.T) {
	w, _ := letters(first, second)
	s := scripted{
		fetch: func(_ fetch.Mailbox, want []fetch.Listed, _ func([]fetch.Listed) ([]fetch.Failure, error)) ([]fetch.Failure, error) {
			return []fetch.Failure{refusal(want[0])}, &session.Error{Class: session.ClassAuth, Reach: session.ReachAccount, Reason: "login-refused"}
		},
		heads: func(want []fetch.Listed) []fetch.Listed {
			t.Error("a session was asked for once more, after a login was refused")
			return want
		},
	}
	if got := sum(scriptedRun(t, w, s).pull(t, t.Context())); got.Server != 2 || len(got.Missing) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestAHeaderNamesItsOwnMessage(t *testing.T) {
	w, b := letters(first, third)
	w.pop, b.validity = true, 0
	b.msgs[0].uid, b.msgs[1].uid = "", ""
	s := scripted{
		fetch: func(_ fetch.Mailbox, want []fetch.Listed, _ func([]fetch.Listed) ([]fetch.Failure, error)) ([]fetch.Failure, error) {
			return []fetch.Failure{refusal(want[0]), refusal(want[1])}, nil
		},
		heads: func(want []fetch.Listed) []fetch.Listed { return want[1:] },
	}
	got := sum(scriptedRun(t, w, s).pull(t, t.Context()))
	if len(got.Missing) != 2 || got.Missing[0].From != "" || got.Missing[1].From != "b@example.jp" {
		t.Errorf("%+v", got.Missing)
	}
}

func TestACountThatCannotBeIsBounded(t *testing.T) {
	w, _ := letters(first)
	s := scripted{
		mailboxes: func(list []fetch.Mailbox) []fetch.Mailbox {
			list[0].Status.Messages = 1<<32 - 1
			return list
		},
		list: func(fetch.Mailbox) error {
			return &session.Error{Class: session.ClassRefused, Reach: session.ReachMailbox, Reason: "command-refused"}
		},
	}
	m := scriptedRun(t, w, s).pullAnyhow(t).Mailboxes[0]
	if m.Server != 1<<31-1 || len(m.Missing) > 100_000 || m.Server != len(m.Missing)+m.Unlisted || m.Err == nil {
		t.Errorf("server %d, missing %d, unlisted %d, %v", m.Server, len(m.Missing), m.Unlisted, m.Err)
	}
}

func (r run) pullAnyhow(t *testing.T) *fetch.Ledger {
	t.Helper()
	a, err := archive.Open(r.dir, archive.Options{Create: true})
	check(t, err)
	defer a.Close()
	src, err := r.open(t.Context())
	check(t, err)
	return fetch.Pull(t.Context(), src, a, r.acc, r.opts)
}

func TestMailboxesThatDoNotAddUp(t *testing.T) {
	for _, c := range []struct {
		name      string
		mailboxes func([]fetch.Mailbox) []fetch.Mailbox
		list      error
		missing   int
	}{
		{"none at all", func([]fetch.Mailbox) []fetch.Mailbox { return nil }, nil, 0},
		{"two of one name", func(l []fetch.Mailbox) []fetch.Mailbox { return append(l, l[0]) }, nil, 2},
		{"one that has vanished", nil, &session.Error{Class: session.ClassMissing, Reach: session.ReachMailbox, Reason: "nonexistent"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := letters(first, second)
			s := scripted{mailboxes: c.mailboxes, list: func(fetch.Mailbox) error { return c.list }}
			l := scriptedRun(t, w, s).pull(t, t.Context())
			if got := sum(l); complete(l) || len(got.Missing) != c.missing {
				t.Errorf("%+v", l)
			}
		})
	}
}

func TestWhereverTheRunEndsEveryMailboxIsInTheLedger(t *testing.T) {
	s := newIMAP()
	r := imapRun(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	r.opts.Observer.Listing = func(_ string, n, _ int) {
		if n == 2 {
			cancel()
		}
	}
	l := r.pull(t, ctx)
	if got := sum(l); len(l.Mailboxes) != 4 || got.Server != 20 || len(got.Missing) != 20 || l.ListedAll {
		t.Errorf("%d mailboxes, all listed %v, server %d, missing %d", len(l.Mailboxes), l.ListedAll, got.Server, len(got.Missing))
	}
}

func TestTheServerCallsTwoMessagesTheSame(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.AddMailbox("All Mail", `\All`)
	s.Add("INBOX", []byte(first), date)
	s.Add("All Mail", []byte(third), date)
	r := imapRun(t, s)
	r.acc.Name = "x"
	plain := r.open
	r.open = func(ctx context.Context) (fetch.Source, error) {
		src, err := plain(ctx)
		return naming{src, func(string, string) string { return "M" }}, err
	}
	wantSum(t, r.pull(t, t.Context()), 2, 2, 2, 0)
	holds(t, r, "INBOX", first)
	holds(t, r, "All Mail", third)
}

func TestEqualUniqueIDsInAnotherOrder(t *testing.T) {
	for _, uid := range []string{"twin", ""} {
		t.Run("unique-id "+uid, func(t *testing.T) {
			w, b := letters(first, second)
			w.pop, b.validity = true, 0
			b.msgs[0].uid, b.msgs[1].uid = uid, uid
			r := scriptedRun(t, w, scripted{fetch: func(_ fetch.Mailbox, want []fetch.Listed, all func([]fetch.Listed) ([]fetch.Failure, error)) ([]fetch.Failure, error) {
				_, err := all(want[:1])
				return []fetch.Failure{refusal(want[1])}, err
			}})
			wantHeld(t, r.pull(t, t.Context()), 2, 1)
			slices.Reverse(b.msgs)
			r.open = w.source(scripted{})
			wantHeld(t, r.pull(t, t.Context()), 2, 2)
			holds(t, r, "INBOX", first, second)
			slices.Reverse(b.msgs)
			wantSum(t, r.pull(t, t.Context()), 2, 2, 0, 0)
		})
	}
}

func wantHeld(t *testing.T, l *fetch.Ledger, server, held int) {
	t.Helper()
	if got := sum(l); got.Server != server || got.Held != held {
		t.Errorf("server %d, held %d, want %d, %d", got.Server, got.Held, server, held)
	}
}

func TestRebindOnlyWhatLeavesNoChoice(t *testing.T) {
	w, b := letters(first)
	r := scriptedRun(t, w, scripted{})
	wantSum(t, r.pull(t, t.Context()), 1, 1, 1, 0)
	b.put(second)
	slices.Reverse(b.msgs)
	b.renumber()
	r.opts.Rebind = true
	wantSum(t, r.pull(t, t.Context()), 2, 2, 1, 1)
	holds(t, r, "INBOX", first, second)
}

func TestChangesOfAMailboxThatSeemsUnchanged(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*worldBox)
		flags  int
		fresh  int
	}{
		{"nothing", func(*worldBox) {}, 0, 0},
		{"flags", func(b *worldBox) { b.modSeq++; b.msgs[2].flags, b.msgs[2].modSeq = []string{`\Seen`}, b.modSeq }, 1, 0},
		{"flags of the UID that rules", func(b *worldBox) { b.modSeq++; b.msgs[0].flags, b.msgs[0].modSeq = []string{`\Seen`}, b.modSeq }, 1, 0},
		{"flags of the UID that does not rule", func(b *worldBox) { b.modSeq++; b.msgs[1].flags, b.msgs[1].modSeq = []string{`\Seen`}, b.modSeq }, 0, 0},
		{"a server that was set back", func(b *worldBox) { b.setBack(3); b.msgs[2].flags = []string{`\Seen`} }, 1, 0},
		{"a UIDNEXT that stays", func(b *worldBox) {
			b.modSeq++
			b.msgs[2] = &worldMessage{uid: "77", octets: []byte(second), modSeq: b.modSeq}
		}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, b := letters(first, first, third)
			b.modSeq = 9
			r := scriptedRun(t, w, scripted{})
			wantSum(t, r.pull(t, t.Context()), 3, 3, 2, 1)
			c.change(b)
			l := r.pull(t, t.Context())
			wantSum(t, l, 3, 3, c.fresh, 0)
			if got := sum(l).Flags; got != c.flags {
				t.Errorf("%d changes of flags, want %d", got, c.flags)
			}
			l = r.pull(t, t.Context())
			wantSum(t, l, 3, 3, 0, 0)
			if !l.Mailboxes[0].Unchanged || l.Mailboxes[0].Flags != 0 {
				t.Errorf("a run with nothing to do: %+v", l.Mailboxes[0])
			}
			want := []string{first, third}
			if c.fresh > 0 {
				want = append(want, second)
			}
			holds(t, r, "INBOX", want...)
		})
	}
}
