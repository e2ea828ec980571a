package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// opener opens a Source over the server at an address.
type opener func(ctx context.Context, addr *net.TCPAddr) (fetch.Source, error)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// conform runs the suite over a server.
func conform(t *testing.T, addr *net.TCPAddr, open opener, want []fetchtest.Expected) {
	t.Helper()
	fetchtest.TestSource(t, func(t *testing.T) fetch.Source {
		src, err := open(t.Context(), addr)
		check(t, err)
		return src
	}, want)
}

func proxied(t testing.TB, target net.Addr, faults func(int) fetchtest.Faults) *net.TCPAddr {
	t.Helper()
	p := fetchtest.NewProxy(target, faults)
	addr, err := p.Listen()
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return addr
}

// shorter leaves out the messages that are long for their own sake, where
// every octet costs.
func shorter(messages []fetchtest.Odd) []fetchtest.Odd {
	var short []fetchtest.Odd
	for _, o := range messages {
		if len(o.Octets) < 2000 {
			short = append(short, o)
		}
	}
	return short
}

// outcome is how every message of an account ended in the end.
type outcome struct {
	taken map[string][][]byte // by mailbox and UID: each time fn returned nil
	named map[string]error
	err   error // the account ended with it
}

// drain fetches a whole account once, as Pull does, and keeps what came.
func drain(ctx context.Context, open opener, addr *net.TCPAddr) outcome {
	o := outcome{taken: make(map[string][][]byte), named: make(map[string]error)}
	src, err := open(ctx, addr)
	if err != nil {
		o.err = err
		return o
	}
	defer src.Close()
	mailboxes, err := src.Mailboxes(ctx)
	if err != nil {
		o.err = err
		return o
	}
	for _, m := range mailboxes {
		if !m.Selectable {
			continue
		}
		var listed []fetch.Listed
		state, err := src.List(ctx, m, func(l fetch.Listed) error {
			listed = append(listed, l)
			return nil
		})
		if err != nil {
			o.err = err
			return o
		}
		failures, err := src.Fetch(ctx, m, state, listed, o.take(m.Name))
		for _, f := range failures {
			o.named[m.Name+"/"+f.Listed.UID] = f.Err
		}
		if err != nil {
			o.err = err
			return o
		}
	}
	return o
}

// take is an fn for Fetch that keeps what it is given.
func (o outcome) take(mailbox string) func(fetch.Listed, io.Reader) error {
	return func(l fetch.Listed, r io.Reader) error {
		octets, err := io.ReadAll(r)
		if err == nil {
			k := mailbox + "/" + l.UID
			o.taken[k] = append(o.taken[k], octets)
		}
		return err
	}
}

// honest checks an outcome: nothing altered, nothing twice, and what did not
// come is named, unless the account as a whole ended with an error.
func (o outcome) honest(t *testing.T, want []fetchtest.Expected) {
	t.Helper()
	for _, e := range want {
		k := e.Mailbox + "/" + e.UID
		copies := o.taken[k]
		switch {
		case len(copies) > 1:
			t.Errorf("%s was taken %d times", k, len(copies))
		case len(copies) == 1 && !bytes.Equal(copies[0], e.Octets):
			t.Errorf("%s was altered: %d octets, want %d", k, len(copies[0]), len(e.Octets))
		case len(copies) == 1 && o.named[k] != nil:
			t.Errorf("%s was taken and is named: %v", k, o.named[k])
		case len(copies) == 0 && o.named[k] == nil && o.err == nil:
			t.Errorf("%s is lost without a word", k)
		}
	}
	if len(o.taken) > len(want) {
		t.Errorf("%d messages of %d", len(o.taken), len(want))
	}
	var e *session.Error
	if o.err != nil && !errors.As(o.err, &e) {
		t.Errorf("the account ended with %v, which is no *session.Error", o.err)
	}
}

// cuts opens an account through a line that is cut after n octets, for many n.
// The first connection is cut, later ones are whole: in the end every message
// must have come, unless the cut was before the first login.
func cuts(t *testing.T, addr *net.TCPAddr, open opener, want []fetchtest.Expected) {
	t.Helper()
	total := int64(0)
	meter := fetchtest.NewProxy(addr, nil)
	at, err := meter.Listen()
	check(t, err)
	if o := drain(t.Context(), open, at); o.err != nil || len(o.named) > 0 {
		t.Fatalf("without a cut: %v, %v", o.err, o.named)
	}
	total = meter.Octets()
	meter.Close()
	for _, rst := range []bool{false, true} {
		for n := int64(1); n < total; n += max(1, total/16) {
			t.Run(fmt.Sprintf("after %d of %d rst %t", n, total, rst), func(t *testing.T) {
				line := proxied(t, addr, func(conn int) fetchtest.Faults {
					if conn > 0 {
						return fetchtest.Faults{}
					}
					return fetchtest.Faults{CutAfter: n, RST: rst}
				})
				o := drain(t.Context(), open, line)
				o.honest(t, want)
				if o.err == nil && len(o.taken) < len(want) {
					t.Errorf("one cut cost %d messages: %v", len(want)-len(o.taken), o.named)
				}
				// A line that was cut once is a reason to try again, and then all comes.
				if o.err != nil {
					again := drain(t.Context(), open, line)
					again.honest(t, want)
					if again.err != nil || len(again.taken) != len(want) {
						t.Errorf("second run: %d of %d messages, %v", len(again.taken), len(want), again.err)
					}
				}
			})
		}
	}
}

// alwaysCut opens an account through a line on which no connection ever lives
// longer than n octets: it must end, in bounded time, and stay honest.
func alwaysCut(t *testing.T, addr *net.TCPAddr, open opener, want []fetchtest.Expected) {
	t.Helper()
	for _, n := range []int64{1, 60, 300, 900, 2500, 6000} {
		t.Run(fmt.Sprintf("after %d", n), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			line := proxied(t, addr, func(int) fetchtest.Faults { return fetchtest.Faults{CutAfter: n} })
			drain(ctx, open, line).honest(t, want)
			if ctx.Err() != nil {
				t.Error("it went on for a minute")
			}
		})
	}
}

// cancels ends the context in the midst of more mail than any buffer holds, on
// a line that goes on forever or has fallen silent.
func cancels(t *testing.T, addr *net.TCPAddr, open opener, total int) {
	t.Helper()
	for _, f := range []struct {
		name   string
		faults fetchtest.Faults
	}{
		{"running", fetchtest.Faults{}},
		{"silent", fetchtest.Faults{StallAfter: 1 << 20}},
	} {
		t.Run(f.name, func(t *testing.T) {
			line := proxied(t, addr, func(int) fetchtest.Faults { return f.faults })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			src, err := open(t.Context(), line)
			check(t, err)
			mailboxes, err := src.Mailboxes(ctx)
			check(t, err)
			var listed []fetch.Listed
			state, err := src.List(ctx, mailboxes[0], func(l fetch.Listed) error {
				listed = append(listed, l)
				return nil
			})
			check(t, err)
			calls := 0
			var since time.Time
			failures, err := src.Fetch(ctx, mailboxes[0], state, listed, func(_ fetch.Listed, r io.Reader) error {
				if calls++; calls == 3 {
					since = time.Now()
					time.AfterFunc(50*time.Millisecond, cancel)
				}
				if f.name == "running" && calls >= 3 {
					time.Sleep(10 * time.Millisecond) // the mail must outlast the context
				}
				_, err := io.Copy(io.Discard, r)
				return err
			})
			if !errors.Is(err, context.Canceled) || calls >= total || len(failures) > 0 {
				t.Errorf("%d calls of %d, %d failures, %v", calls, total, len(failures), err)
			}
			src.Close()
			if took := time.Since(since); took > 3*time.Second {
				t.Errorf("it took %v to stop", took)
			}
		})
	}
}

// manyLarge are messages that fill every buffer on the way.
func manyLarge() []fetchtest.Odd {
	var many []fetchtest.Odd
	body := strings.Repeat("0123456789abcdef\r\n", 8000)
	for i := range 120 {
		many = append(many, fetchtest.Odd{Name: "large", Octets: fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", i, body)})
	}
	return many
}

func popServer(t testing.TB, set func(*fetchtest.POP3), messages []fetchtest.Odd) (*fetchtest.POP3, *net.TCPAddr, []fetchtest.Expected) {
	t.Helper()
	s := fetchtest.NewPOP3("taro@example.jp", "secret")
	if set != nil {
		set(s)
	}
	var want []fetchtest.Expected
	for i, o := range messages {
		uid := fmt.Sprintf("uid-%03d", i)
		s.Add(o.Octets, uid)
		want = append(want, fetchtest.Expected{
			Mailbox: "INBOX", UID: uid, Octets: fetchtest.AsPOP3(o.Octets),
			Unreadable: s.RefuseRetr != nil && s.RefuseRetr(i) != "",
		})
	}
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return s, addr, want
}

func openPOP3(s *fetchtest.POP3) opener {
	return func(ctx context.Context, addr *net.TCPAddr) (fetch.Source, error) {
		return fetch.OpenPOP3(ctx, s.Server(addr), fetch.POP3Options{Pause: time.Millisecond})
	}
}

func TestPOP3Conforms(t *testing.T) {
	servers := []struct {
		name string
		set  func(*fetchtest.POP3)
		line *fetchtest.Faults
		want func(i int, e *fetchtest.Expected) // what the server makes of the message
	}{
		{name: "plain"},
		{name: "small pieces", line: &fetchtest.Faults{Chunk: 7}},
		{name: "TLS", set: func(s *fetchtest.POP3) { s.Security = session.TLS }},
		{name: "STLS", set: func(s *fetchtest.POP3) { s.Security = session.STARTTLS }},
		{name: "no CAPA", set: func(s *fetchtest.POP3) { s.NoCAPA = true }},
		{name: "no pipelining", set: func(s *fetchtest.POP3) { s.NoPipelining = true }},
		{name: "no TOP", set: func(s *fetchtest.POP3) { s.NoTOP = true }},
		{name: "sizes that lie", set: func(s *fetchtest.POP3) {
			s.ListSize = func(i int, size int64) int64 { return []int64{size, 0, size + 3, size / 2}[i%4] }
		}},
		{name: "no UIDL", set: func(s *fetchtest.POP3) { s.NoUIDL = true },
			want: func(_ int, e *fetchtest.Expected) { e.UID = "" }},
		{name: "equal unique-ids", set: func(s *fetchtest.POP3) {
			s.SetUIDL(func(i int, _ []byte) string { return fmt.Sprintf("same-%d", i/3) })
		}, want: func(i int, e *fetchtest.Expected) { e.UID = fmt.Sprintf("same-%d", i/3) }},
		{name: "blank unique-ids", set: func(s *fetchtest.POP3) { s.SetUIDL(func(int, []byte) string { return "" }) },
			want: func(_ int, e *fetchtest.Expected) { e.UID = "" }},
		{name: "one unique-id missing", set: func(s *fetchtest.POP3) { s.OmitUIDL = func(i int) bool { return i == 4 } },
			want: func(i int, e *fetchtest.Expected) {
				if i == 4 {
					e.UID = ""
				}
			}},
		{name: "long unique-ids", set: func(s *fetchtest.POP3) {
			s.SetUIDL(func(i int, _ []byte) string { return fmt.Sprintf("%0200d", i) })
		}, want: func(_ int, e *fetchtest.Expected) { e.UID = "" }},
		{name: "some refused", set: func(s *fetchtest.POP3) {
			s.RefuseRetr = func(i int) string {
				if i%5 == 2 {
					return "[SYS/PERM] cannot read it"
				}
				return ""
			}
		}},
	}
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			s, addr, want := popServer(t, server.set, fetchtest.Strange())
			for i := range want {
				if server.want != nil {
					server.want(i, &want[i])
				}
			}
			if server.line != nil {
				addr = proxied(t, addr, func(int) fetchtest.Faults { return *server.line })
			}
			conform(t, addr, openPOP3(s), want)
			if s.Deletes() != 0 || strings.Contains(strings.Join(s.Commands(), "\n"), "DELE") {
				t.Errorf("a Source deleted %d messages", s.Deletes())
			}
			if s.NoPipelining && s.Pipelined() > 0 {
				t.Errorf("%d commands were pipelined to a server that does not offer it", s.Pipelined())
			}
		})
	}
}

func TestPOP3SurvivesCuts(t *testing.T) {
	for _, pipelining := range []bool{true, false} {
		t.Run(fmt.Sprintf("pipelining %t", pipelining), func(t *testing.T) {
			s, addr, want := popServer(t, func(s *fetchtest.POP3) { s.NoPipelining = !pipelining }, shorter(fetchtest.Strange()))
			cuts(t, addr, openPOP3(s), want)
			if s.Deletes() != 0 {
				t.Errorf("a Source deleted %d messages", s.Deletes())
			}
		})
	}
}

func TestPOP3IsHonestOnABadLine(t *testing.T) {
	s, addr, want := popServer(t, nil, shorter(fetchtest.Strange()))
	alwaysCut(t, addr, openPOP3(s), want)
}

func TestPOP3Cancels(t *testing.T) {
	s, addr, want := popServer(t, nil, manyLarge())
	cancels(t, addr, openPOP3(s), len(want))
	for _, command := range s.Commands() {
		if command == "QUIT" {
			t.Error("a cancelled session said QUIT: some servers expire what was retrieved")
		}
	}
}

// TestPOP3EveryIDChanged opens the same maildrop twice with other unique-ids:
// message numbers must not be taken for identity between sessions.
func TestPOP3EveryIDChanged(t *testing.T) {
	s, addr, _ := popServer(t, nil, shorter(fetchtest.Strange()))
	first := drain(t.Context(), openPOP3(s), addr)
	s.SetUIDL(func(i int, _ []byte) string { return fmt.Sprintf("new-%d", i) })
	second := drain(t.Context(), openPOP3(s), addr)
	if first.err != nil || second.err != nil || len(first.taken) != len(second.taken) {
		t.Fatalf("%d and %d messages, %v, %v", len(first.taken), len(second.taken), first.err, second.err)
	}
	for k := range second.taken {
		if first.taken[k] != nil {
			t.Errorf("%s keeps an old unique-id", k)
		}
	}
}

// TestPOP3RemovedBetweenSessions loses the session in mid-list while another
// client deletes: the number of each later message changes.
func TestPOP3RemovedBetweenSessions(t *testing.T) {
	s, addr, want := popServer(t, nil, shorter(fetchtest.Strange()))
	line := proxied(t, addr, func(conn int) fetchtest.Faults {
		if conn > 0 {
			return fetchtest.Faults{}
		}
		retrieved := 0
		return fetchtest.Faults{CutAtCommand: func(command []byte) bool {
			if !bytes.HasPrefix(command, []byte("RETR")) {
				return false
			}
			if retrieved++; retrieved == 6 {
				s.Remove(8)
				return true
			}
			return false
		}}
	})
	o := drain(t.Context(), openPOP3(s), line)
	if o.err != nil || len(o.taken) != len(want)-1 || len(o.named) != 1 || o.named["INBOX/uid-008"] == nil {
		t.Errorf("%d of %d taken, named %v, %v", len(o.taken), len(want), o.named, o.err)
	}
	o.honest(t, want)
}
