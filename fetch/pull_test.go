package fetch_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

func pop3Letter(n int) []byte {
	return fmt.Appendf(nil, "Received: from mx by mail; Mon, %02d Mar 2020 10:00:00 +0900\r\nFrom: a@example.jp\r\nSubject: %d\r\nMessage-ID: <%d@example.jp>\r\n\r\nbody %d\r\n.\r\nFrom here\r\n", n%28+1, n, n, n)
}

// run is one whole run: open the archive, log in, pull, close both.
type run struct {
	dir  string
	acc  archive.Account
	open func(ctx context.Context) (fetch.Source, error)
	opts fetch.Options
}

func (r run) pull(t *testing.T, ctx context.Context) *fetch.Ledger {
	t.Helper()
	a, err := archive.Open(r.dir, archive.Options{Create: true})
	check(t, err)
	src, err := r.open(ctx)
	check(t, err)
	l := fetch.Pull(ctx, src, a, r.acc, r.opts)
	src.Close()
	check(t, a.Close())
	for _, m := range l.Mailboxes {
		if m.Server != m.Held+len(m.Missing)+m.LeftOut {
			t.Errorf("%s: server %d, held %d, missing %d, left out %d do not add up", m.Name, m.Server, m.Held, len(m.Missing), m.LeftOut)
		}
	}
	return l
}

// sum adds up what a ledger says.
func sum(l *fetch.Ledger) (s fetch.MailboxLedger) {
	for _, m := range l.Mailboxes {
		s.Server += m.Server
		s.Held += m.Held
		s.New += m.New
		s.Duplicate += m.Duplicate
		s.LeftOut += m.LeftOut
		s.Rebound += m.Rebound
		s.Flags += m.Flags
		s.Missing = append(s.Missing, m.Missing...)
		s.Gone = append(s.Gone, m.Gone...)
	}
	return s
}

func wantSum(t *testing.T, l *fetch.Ledger, server, held, fresh, duplicate int) {
	t.Helper()
	if l.Err != nil {
		t.Errorf("ended early: %v", l.Err)
	}
	for _, m := range l.Mailboxes {
		if m.Err != nil {
			t.Errorf("%s ended early: %v", m.Name, m.Err)
		}
	}
	if s := sum(l); s.Server != server || s.Held != held || s.New != fresh || s.Duplicate != duplicate {
		t.Errorf("server %d held %d new %d duplicate %d, want %d %d %d %d; %+v", s.Server, s.Held, s.New, s.Duplicate, server, held, fresh, duplicate, s)
	}
}

// stored counts the messages of an archive, and demands that it is sound.
func stored(t *testing.T, dir string) (n int) {
	t.Helper()
	a, err := archive.Open(dir, archive.Options{})
	check(t, err)
	defer a.Close()
	v, err := a.Verify(context.Background(), archive.VerifyOptions{})
	check(t, err)
	for _, m := range v.Mailboxes {
		n += m.Messages
		if m.Sound != m.Messages || len(m.Foreign) > 0 {
			t.Errorf("verify: %+v", m)
		}
	}
	return n
}

func pop3Run(t *testing.T, s *fetchtest.POP3, at net.Addr) run {
	acc := archive.Account{Name: "pop", Protocol: "pop3", Host: "127.0.0.1", User: "taro"}
	return run{dir: t.TempDir(), acc: acc, open: func(ctx context.Context) (fetch.Source, error) {
		return fetch.OpenPOP3(ctx, s.Server(at.(*net.TCPAddr)), fetch.POP3Options{Pause: time.Millisecond})
	}}
}

func newPOP3(t *testing.T, n int, uidl func(i int) string) (*fetchtest.POP3, *net.TCPAddr) {
	t.Helper()
	s := fetchtest.NewPOP3("taro", "secret")
	for i := range n {
		s.Add(pop3Letter(i), uidl(i))
	}
	return s, nil
}

func listenPOP3(t *testing.T, s *fetchtest.POP3) *net.TCPAddr {
	t.Helper()
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return addr
}

func number(i int) string { return fmt.Sprintf("uid-%d", i) }

func TestPullPOP3(t *testing.T) {
	for _, c := range []struct {
		name      string
		setup     func(*fetchtest.POP3)
		between   func(*fetchtest.POP3)
		duplicate int // in the second run
		fetched   int // bodies in the second run
		want      int // messages in the archive
		fresh     int // in the second run
	}{
		{"nothing new", nil, nil, 0, 0, 20, 0},
		{"all unique-ids changed", nil, func(s *fetchtest.POP3) { s.SetUIDL(func(i int, _ []byte) string { return fmt.Sprintf("x%d", i) }) }, 20, 20, 20, 0},
		{"no UIDL, TOP", func(s *fetchtest.POP3) { s.NoUIDL = true }, nil, 0, 0, 20, 0},
		{"no UIDL, TOP, one more", func(s *fetchtest.POP3) { s.NoUIDL = true }, func(s *fetchtest.POP3) { s.Add(pop3Letter(99), "") }, 0, 1, 21, 1},
		{"no UIDL, no TOP", func(s *fetchtest.POP3) { s.NoUIDL, s.NoTOP = true, true }, nil, 20, 20, 20, 0},
		{"no UIDL, two with one header", func(s *fetchtest.POP3) { s.NoUIDL = true }, func(s *fetchtest.POP3) {
			s.Add([]byte("Subject: s\r\n\r\nfirst\r\n"), "")
			s.Add([]byte("Subject: s\r\n\r\nother\r\n"), "")
		}, 0, 2, 22, 2},
		{"a unique-id used again for another message", nil, func(s *fetchtest.POP3) {
			s.Remove(0)
			s.Add([]byte("Subject: another\r\n\r\nnot the first\r\n"), number(0))
		}, 0, 1, 21, 1},
		{"equal unique-ids", nil, func(s *fetchtest.POP3) {
			s.Add(pop3Letter(50), "same")
			s.Add(pop3Letter(51), "same")
		}, 0, 2, 22, 2},
		{"mail taken away by another program", nil, func(s *fetchtest.POP3) { s.Remove(3); s.Remove(7) }, 0, 0, 20, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newPOP3(t, 20, number)
			if c.setup != nil {
				c.setup(s)
			}
			r := pop3Run(t, s, listenPOP3(t, s))
			l := r.pull(t, t.Context())
			wantSum(t, l, 20, 20, 20, 0)
			if l.Oldest.IsZero() || l.Facts.KeepsFlags {
				t.Errorf("oldest %v, flags %v", l.Oldest, l.Facts.KeepsFlags)
			}
			if c.between != nil {
				c.between(s)
			}
			before := s.Retrieved()
			n := len(s.Messages())
			wantSum(t, r.pull(t, t.Context()), n, n, c.fresh, c.duplicate)
			if got := s.Retrieved() - before; got != c.fetched {
				t.Errorf("%d bodies fetched, want %d", got, c.fetched)
			}
			if got := stored(t, r.dir); got != c.want {
				t.Errorf("%d messages in the archive, want %d", got, c.want)
			}
			if s.Deletes() != 0 {
				t.Error("DELE was sent")
			}
			third := r.pull(t, t.Context())
			if s := sum(third); s.New != 0 || len(s.Missing) != 0 {
				t.Errorf("third run: %+v", s)
			}
		})
	}
}

func TestPullIsCutShort(t *testing.T) {
	s, _ := newPOP3(t, 50, number)
	addr := listenPOP3(t, s)
	r := pop3Run(t, s, addr)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	r.opts.Observer.Message = func() {
		if n++; n == 20 {
			cancel()
		}
	}
	l := r.pull(t, ctx)
	got := sum(l)
	if l.Err == nil || got.Held < 20 || len(got.Missing) != 50-got.Held || got.Missing[0].Reason != "interrupted" {
		t.Fatalf("%v, %+v", l.Err, got)
	}
	for _, line := range s.Commands() {
		if line == "QUIT" {
			t.Error("QUIT after a cancelled run")
		}
	}
	r.opts = fetch.Options{}
	wantSum(t, r.pull(t, t.Context()), 50, 50, 50-got.Held, 0)
	if n := stored(t, r.dir); n != 50 {
		t.Errorf("%d messages in the archive", n)
	}
}

func imapRun(t *testing.T, s *fetchtest.IMAP) run {
	t.Helper()
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	acc := archive.Account{Name: "imap", Protocol: "imap", Host: "127.0.0.1", User: "taro"}
	return run{dir: t.TempDir(), acc: acc, open: func(ctx context.Context) (fetch.Source, error) {
		return fetch.OpenIMAP(ctx, s.Server(addr), fetch.IMAPOptions{})
	}}
}

var date = time.Date(2021, 5, 6, 7, 8, 9, 0, time.FixedZone("", 9*3600))

func newIMAP() *fetchtest.IMAP {
	s := fetchtest.NewIMAP("taro", "secret")
	s.AddMailbox("送信済み", `\Sent`)
	s.AddMailbox("仕事/見積")
	s.AddMailbox("Junk", `\Junk`)
	for i := range 20 {
		s.Add([]string{"INBOX", "送信済み", "仕事/見積"}[i%3], pop3Letter(i), date.Add(time.Duration(i)*time.Hour), `\Seen`)
	}
	return s
}

func bodies(s *fetchtest.IMAP) (n int) {
	for _, line := range s.Commands() {
		if strings.Contains(line, "BODY.PEEK[]") {
			n++
		}
	}
	return n
}

func TestPullIMAP(t *testing.T) {
	for _, c := range []struct {
		name             string
		between          func(*fetchtest.IMAP)
		fresh, duplicate int // in the second run
		flags            int
		fetches          bool // the second run downloads
		want             int
	}{
		{"nothing new", func(*fetchtest.IMAP) {}, 0, 0, 0, false, 20},
		{"one more", func(s *fetchtest.IMAP) { s.Add("INBOX", pop3Letter(70), date) }, 1, 0, 0, true, 21},
		{"UIDVALIDITY changed", func(s *fetchtest.IMAP) { s.SetUIDValidity("INBOX", 4711) }, 0, 7, 0, true, 20},
		{"flags changed", func(s *fetchtest.IMAP) { s.SetFlags("INBOX", 2, `\Answered`, "$Work") }, 0, 0, 1, false, 20},
		{"a message deleted", func(s *fetchtest.IMAP) { s.Expunge("INBOX", 3) }, 0, 0, 0, false, 20},
		{"one deleted, one new", func(s *fetchtest.IMAP) { s.Expunge("INBOX", 3); s.Add("INBOX", pop3Letter(71), date) }, 1, 0, 0, true, 21},
		{"the same octets twice in one mailbox", func(s *fetchtest.IMAP) { s.Add("INBOX", pop3Letter(0), date) }, 0, 1, 0, true, 20},
		{"moved to another mailbox", func(s *fetchtest.IMAP) { s.Expunge("INBOX", 1); s.Add("Junk", pop3Letter(0), date) }, 1, 0, 0, true, 21},
		{"one Message-ID, another content", func(s *fetchtest.IMAP) {
			s.Add("INBOX", []byte("Message-ID: <0@example.jp>\r\n\r\nother\r\n"), date)
		}, 1, 0, 0, true, 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newIMAP()
			r := imapRun(t, s)
			wantSum(t, r.pull(t, t.Context()), 20, 20, 20, 0)
			c.between(s)
			total := 0
			for _, m := range s.Mailboxes() {
				total += len(s.Messages(m))
			}
			s.ResetCommands()
			l := r.pull(t, t.Context())
			wantSum(t, l, total, total, c.fresh, c.duplicate)
			if got := sum(l).Flags; got != c.flags {
				t.Errorf("%d changes of flags, want %d", got, c.flags)
			}
			if (bodies(s) > 0) != c.fetches {
				t.Errorf("%d commands fetched bodies", bodies(s))
			}
			if got := stored(t, r.dir); got != c.want {
				t.Errorf("%d messages in the archive, want %d", got, c.want)
			}
			for range 3 {
				s.ResetCommands()
				l := r.pull(t, t.Context())
				wantSum(t, l, total, total, 0, 0)
				if bodies(s) > 0 {
					t.Error("a later run downloads")
				}
				for _, m := range l.Mailboxes {
					if m.Server > 0 && !m.Unchanged {
						t.Errorf("%s was listed again though nothing happened in it", m.Name)
					}
				}
			}
			for _, line := range s.Commands() {
				for _, bad := range []string{" SELECT ", " STORE ", " EXPUNGE", " CLOSE"} {
					if strings.Contains(line+" ", bad) {
						t.Errorf("sent %q", line)
					}
				}
			}
			if p := s.Problems(); p != "" {
				t.Error(p)
			}
		})
	}
}

func TestPullLeavesOutWhatTheUserChose(t *testing.T) {
	s := newIMAP()
	s.Add("Junk", pop3Letter(80), date)
	r := imapRun(t, s)
	r.opts.Exclude = func(m fetch.Mailbox) bool { return m.SpecialUse == `\Junk` }
	l := r.pull(t, t.Context())
	wantSum(t, l, 21, 20, 20, 0)
	if got := sum(l).LeftOut; got != 1 {
		t.Errorf("%d left out", got)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "imap", "Junk")); err == nil {
		t.Error("it was pulled all the same")
	}
}

func TestPullNamesWhatItCannotFetch(t *testing.T) {
	s := newIMAP()
	s.Withhold("INBOX", 2)
	r := imapRun(t, s)
	l := r.pull(t, t.Context())
	got := sum(l)
	if l.Err != nil || got.Server != 20 || got.Held != 19 || len(got.Missing) != 1 {
		t.Fatalf("%v %+v", l.Err, got)
	}
	if m := got.Missing[0]; m.UID != "2" || m.Octets <= 0 || m.Reason == "" {
		t.Errorf("named as %+v", m)
	}
	// The next run asks for it again: it is not taken for unchanged.
	s.ResetCommands()
	if got := sum(r.pull(t, t.Context())); len(got.Missing) != 1 || bodies(s) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestRebindDownloadsNothing(t *testing.T) {
	s := newIMAP()
	r := imapRun(t, s)
	wantSum(t, r.pull(t, t.Context()), 20, 20, 20, 0)
	for _, m := range s.Mailboxes() {
		s.SetUIDValidity(m, 999)
	}
	s.ResetCommands()
	r.opts.Rebind = true
	l := r.pull(t, t.Context())
	wantSum(t, l, 20, 20, 0, 0)
	if got := sum(l).Rebound; got != 20 || bodies(s) > 0 {
		t.Errorf("%d bound again, %d commands fetched bodies", got, bodies(s))
	}
	a, err := archive.Open(r.dir, archive.Options{})
	check(t, err)
	v, err := a.Verify(t.Context(), archive.VerifyOptions{})
	check(t, err)
	n := 0
	for _, m := range v.Mailboxes {
		n += m.NotCompared
	}
	if n != 20 {
		t.Errorf("%d are marked as not compared", n)
	}
	check(t, a.Close())
	r.opts.Rebind = false
	wantSum(t, r.pull(t, t.Context()), 20, 20, 0, 0)
}

// naming is a Source whose server says which messages are the same, as Gmail
// (X-GM-MSGID) and servers with OBJECTID (RFC 8474) do: by their subject here.
type naming struct {
	fetch.Source
	name func(mailbox, uid string) string
}

func (n naming) List(ctx context.Context, m fetch.Mailbox, fn func(fetch.Listed) error) (fetch.State, error) {
	return n.Source.List(ctx, m, func(l fetch.Listed) error {
		l.SameAs = n.name(m.Name, l.UID)
		return fn(l)
	})
}

func TestWhatTheServerCallsTheSameIsDownloadedOnce(t *testing.T) {
	s := fetchtest.NewIMAP("taro", "secret")
	s.AddMailbox("All Mail", `\All`)
	for i := range 10 {
		s.Add("INBOX", pop3Letter(i), date)
		s.Add("All Mail", pop3Letter(i), date)
	}
	s.Add("All Mail", pop3Letter(10), date)
	r := imapRun(t, s)
	plain := r.open
	r.open = func(ctx context.Context) (fetch.Source, error) {
		src, err := plain(ctx)
		return naming{src, func(_, uid string) string { return "M" + uid }}, err
	}
	octets := 0
	r.opts.Observer.Octets = func(n int) { octets += n }
	wantSum(t, r.pull(t, t.Context()), 21, 21, 21, 0)
	want := 0
	for i := range 11 {
		want += len(pop3Letter(i))
	}
	if octets != want {
		t.Errorf("%d octets downloaded, want %d", octets, want)
	}
	if n := stored(t, r.dir); n != 21 {
		t.Errorf("%d messages in the archive", n)
	}
	wantSum(t, r.pull(t, t.Context()), 21, 21, 0, 0)
}

// short is a Source whose server counts one message more than it lists.
type short struct{ fetch.Source }

func (s short) List(ctx context.Context, m fetch.Mailbox, fn func(fetch.Listed) error) (fetch.State, error) {
	state, err := s.Source.List(ctx, m, fn)
	if err == nil && m.Name == "INBOX" {
		state.Messages++
		err = &session.Error{Class: session.ClassProtocol, Reach: session.ReachMailbox, Reason: "list-short"}
	}
	return state, err
}

func TestHalfAListIsFetchedAndNotCalledComplete(t *testing.T) {
	s := newIMAP()
	r := imapRun(t, s)
	plain := r.open
	r.open = func(ctx context.Context) (fetch.Source, error) {
		src, err := plain(ctx)
		return short{src}, err
	}
	l := r.pull(t, t.Context())
	got := sum(l)
	if l.Err != nil || got.Server != 21 || got.Held != 20 || len(got.Missing) != 1 || l.Mailboxes[0].Err == nil {
		t.Errorf("%v %+v", l.Err, got)
	}
	r.open = plain
	wantSum(t, r.pull(t, t.Context()), 20, 20, 0, 0)
}

// TestAMessageThatComesBack is listed, gone and listed again under the same
// unique-id, as servers do that restore a maildrop.
func TestAMessageThatComesBack(t *testing.T) {
	s, _ := newPOP3(t, 5, number)
	r := pop3Run(t, s, listenPOP3(t, s))
	wantSum(t, r.pull(t, t.Context()), 5, 5, 5, 0)
	s.Remove(2)
	wantSum(t, r.pull(t, t.Context()), 4, 4, 0, 0)
	s.Add(pop3Letter(2), number(2))
	before := s.Retrieved()
	wantSum(t, r.pull(t, t.Context()), 5, 5, 0, 0)
	if s.Retrieved() != before {
		t.Error("it was downloaded again")
	}
	if n := stored(t, r.dir); n != 5 {
		t.Errorf("%d messages in the archive", n)
	}
	journal := func() int64 {
		fi, err := os.Stat(filepath.Join(r.dir, ".fumibako", "journal", "000001.log"))
		check(t, err)
		return fi.Size()
	}
	size := journal()
	wantSum(t, r.pull(t, t.Context()), 5, 5, 0, 0)
	if journal() != size {
		t.Error("that it is back is recorded in every run")
	}
}
