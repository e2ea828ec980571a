package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// Messages at which the line breaks each time, side by side, do not keep the
// others back.
func TestPOP3Culprits(t *testing.T) {
	t.Parallel()
	for _, piped := range []bool{false, true} {
		t.Run(fmt.Sprintf("pipelined %v", piped), func(t *testing.T) {
			t.Parallel()
			srv := pop3Server(t, 20)
			srv.NoPipelining = !piped
			src := openDrop(t, through(t, srv, func(int) fetchtest.Faults {
				return fetchtest.Faults{CutAt: func(line []byte) bool {
					return bytes.HasPrefix(line, []byte("Subject: letter 4\r")) || bytes.HasPrefix(line, []byte("Subject: letter 5\r"))
				}}
			}))
			g := got{}
			failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, listPOP3(t, src), g.take(t))
			if err != nil || len(g) != 18 || len(failures) != 2 {
				t.Fatalf("%d messages, %v, %v", len(g), failures, err)
			}
			for _, f := range failures {
				if f.Listed.UID != "u4" && f.Listed.UID != "u5" || f.Gone || f.Err.Class != session.ClassNetwork || f.Err.Reach != session.ReachMessage || !f.Err.Temporary {
					t.Errorf("%+v, %+v", f, *f.Err)
				}
			}
		})
	}
}

func TestPOP3GivesUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		after func(*fetchtest.POP3) // when the first session is lost
		fault fetchtest.Faults      // of all later ones
		want  string
		conns int64
	}{
		{name: "the line stays down", fault: fetchtest.Faults{Refuse: true}, want: "network closed", conns: 3},
		{name: "in use", after: func(s *fetchtest.POP3) { s.Lock(true) }, want: "busy in-use", conns: 3},
		{name: "login refused", after: func(s *fetchtest.POP3) { s.RefuseLogin = func(string) string { return "no" } }, want: "busy refused-after-login", conns: 2},
		{name: "wrong password, says the code", after: func(s *fetchtest.POP3) { s.RefuseLogin = func(string) string { return "[AUTH] no" } }, want: "auth refused", conns: 2},
		{name: "UIDL is gone", after: func(s *fetchtest.POP3) { s.NoUIDL = true }, want: "protocol uidl-refused", conns: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := pop3Server(t, 5)
			var conns atomic.Int64
			src := openDrop(t, through(t, srv, func(conn int) fetchtest.Faults {
				conns.Store(int64(conn + 1))
				if conn > 0 {
					return test.fault
				}
				return fetchtest.Faults{CutAtCommand: func(line []byte) bool {
					if !bytes.HasPrefix(line, []byte("RETR")) {
						return false
					}
					if test.after != nil {
						test.after(srv)
					}
					return true
				}}
			}))
			want := listPOP3(t, src)
			_, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, func(fetch.Listed, io.Reader) error { return nil })
			if got := why(err); got != test.want && !(test.want == "network closed" && got == "network reset") {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if n := conns.Load(); n != test.conns {
				t.Errorf("%d connections, want %d", n, test.conns)
			}
			src.Close()
			if slices.Contains(srv.Commands(), "QUIT") {
				t.Error("QUIT after a failure")
			}
		})
	}
}

func TestPOP3Cancelled(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 20)
	src := openDrop(t, through(t, srv, nil))
	want := listPOP3(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := src.Fetch(ctx, inbox, fetch.State{}, want, func(_ fetch.Listed, r io.Reader) error {
		if n++; n == 3 {
			cancel()
			<-time.After(50 * time.Millisecond)
		}
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != context.Canceled {
		t.Errorf("got %v", err)
	}
	src.Close()
	if slices.Contains(srv.Commands(), "QUIT") {
		t.Error("QUIT after a cancel")
	}
}

// An error of fn ends Fetch, is returned as it is, and the session is cut.
func TestPOP3OwnError(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 5)
	src := openDrop(t, through(t, srv, nil))
	want := listPOP3(t, src)
	full := errors.New("disk full")
	n := 0
	failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, func(fetch.Listed, io.Reader) error { n++; return full })
	if err != full || n != 1 || len(failures) != 0 {
		t.Errorf("%d calls, %v, %v", n, failures, err)
	}
	// What comes after works, and still nothing is confirmed to the server.
	g := got{}
	if _, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, g.take(t)); err != nil || len(g) != 5 {
		t.Errorf("afterwards %d messages, %v", len(g), err)
	}
	src.Close()
	if slices.Contains(srv.Commands(), "QUIT") {
		t.Error("QUIT after a failure")
	}
}

func TestPOP3Heads(t *testing.T) {
	t.Parallel()
	crowd := func(n int) []fetch.Listed {
		var l []fetch.Listed
		for i := range n {
			l = append(l, fetch.Listed{UID: fmt.Sprint("u", i+1), Num: uint32(i + 1)})
		}
		return l
	}
	for _, test := range []struct {
		name  string
		set   func(*fetchtest.POP3)
		cut   bool
		heads int
	}{
		{name: "good", set: func(*fetchtest.POP3) {}, heads: 8},
		{name: "no TOP", set: func(s *fetchtest.POP3) { s.NoTOP = true }},
		{name: "no TOP, no CAPA", set: func(s *fetchtest.POP3) { s.NoTOP, s.NoCAPA = true, true }},
		{name: "one refused", set: func(s *fetchtest.POP3) {
			s.RefuseRetr = func(i int) string { return []string{"", "no"}[min(1, i/7)] }
		}, heads: 7},
		{name: "cut once", set: func(*fetchtest.POP3) {}, cut: true, heads: 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := pop3Server(t, 8)
			test.set(srv)
			src := openDrop(t, through(t, srv, func(conn int) fetchtest.Faults {
				return fetchtest.Faults{CutAt: func(line []byte) bool {
					return conn == 0 && test.cut && bytes.HasPrefix(line, []byte("Subject: letter 4\r"))
				}}
			}))
			heads := map[string]string{}
			err := src.Heads(t.Context(), inbox, fetch.State{}, crowd(8), func(l fetch.Listed, head []byte) error {
				if _, twice := heads[l.UID]; twice {
					t.Errorf("head of %s came twice", l.UID)
				}
				heads[l.UID] = string(head)
				return nil
			})
			if err != nil || len(heads) != test.heads {
				t.Fatalf("%d heads, %v", len(heads), err)
			}
			for uid, head := range heads {
				n := strings.TrimPrefix(uid, "u")
				if want := fmt.Sprintf("From: taro@example.jp\r\nSubject: letter %s\r\nMessage-ID: <%s@example.jp>\r\n\r\n", n, n); head != want {
					t.Errorf("%s: %q", uid, head)
				}
			}
		})
	}
}

// A server that never ends a message, or says nothing more, is left in bounded
// time, and its message is not taken for whole.
func TestPOP3Silent(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 3)
	s := through(t, srv, func(conn int) fetchtest.Faults {
		return fetchtest.Faults{StallAfter: 3500}
	})
	s.IdleTimeout = 200 * time.Millisecond
	src := openDrop(t, s)
	want := listPOP3(t, src)
	g := got{}
	failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, g.take(t))
	if err != nil || len(g) != 3 || len(failures) != 0 {
		// Each session brings one message before it falls silent.
		t.Errorf("%d messages, %v, %v", len(g), failures, err)
	}
}

// Opening never asks for the secret before the greeting is good.
func TestPOP3WrongPort(t *testing.T) {
	t.Parallel()
	script := fetchtest.NewScript(fetchtest.Send("* OK IMAP4rev1 ready\r\n"), fetchtest.Hang())
	addr, err := script.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { script.Close() })
	_, err = fetch.OpenPOP3(t.Context(), session.Server{
		Host: "127.0.0.1", Port: addr.Port, Security: session.Cleartext, User: "taro",
		Secret: func(context.Context) (session.Secret, error) {
			t.Error("secret asked")
			return session.Secret{}, nil
		},
	}, fetch.POP3Options{})
	if why(err) != "protocol greeting-imap-on-pop3" {
		t.Errorf("got %v", err)
	}
}
