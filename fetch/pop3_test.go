package fetch_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

var inbox = fetch.Mailbox{Name: "INBOX"}

// letter returns a message that tells i and is about size octets long.
func letter(i, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: taro@example.jp\r\nSubject: letter %d\r\nMessage-ID: <%d@example.jp>\r\n\r\n", i, i)
	for b.Len() < size {
		fmt.Fprintf(&b, ".line of letter %d\r\n", i)
	}
	return b.Bytes()
}

// pop3Server is a maildrop with n letters and the unique-ids u1, u2, ….
func pop3Server(t *testing.T, n int) *fetchtest.POP3 {
	t.Helper()
	srv := fetchtest.NewPOP3("taro", "secret")
	for i := range n {
		srv.Add(letter(i+1, 2000), fmt.Sprintf("u%d", i+1))
	}
	t.Cleanup(func() {
		srv.Close()
		if d := srv.Deletes(); d != 0 {
			t.Errorf("%d DELEs", d)
		}
	})
	return srv
}

// through listens with srv and returns how to reach it through a proxy.
func through(t *testing.T, srv *fetchtest.POP3, faults func(conn int) fetchtest.Faults) session.Server {
	t.Helper()
	addr, err := srv.Listen()
	if err != nil {
		t.Fatal(err)
	}
	proxy := fetchtest.NewProxy(addr, faults)
	front, err := proxy.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	s := srv.Server(front)
	s.IdleTimeout = 5 * time.Second
	return s
}

func openDrop(t *testing.T, s session.Server) fetch.Source {
	t.Helper()
	src, err := fetch.OpenPOP3(t.Context(), s, fetch.POP3Options{Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func listPOP3(t *testing.T, src fetch.Source) []fetch.Listed {
	t.Helper()
	var all []fetch.Listed
	if _, err := src.List(t.Context(), inbox, func(l fetch.Listed) error { all = append(all, l); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// got is what a Fetch brought, by the number in the first list.
type got map[uint32][]byte

func (g got) take(t *testing.T) func(fetch.Listed, io.Reader) error {
	return func(l fetch.Listed, r io.Reader) error {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if _, twice := g[l.Num]; twice {
			t.Errorf("message %d came twice", l.Num)
		}
		g[l.Num] = b
		return nil
	}
}

func why(err error) string {
	var e *session.Error
	if errors.As(err, &e) {
		return string(e.Class) + " " + e.Reason
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestPOP3Source(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 100)
	srv.Expire = "0 USER"
	src := openDrop(t, through(t, srv, nil))
	boxes, err := src.Mailboxes(t.Context())
	if err != nil || len(boxes) != 1 || boxes[0].Name != "INBOX" || !boxes[0].Selectable || boxes[0].Status.Messages != 100 {
		t.Fatalf("mailboxes %+v, %v", boxes, err)
	}
	if f := src.Facts(); f != (fetch.Facts{Protocol: "pop3", ExpiresOnRetr: true}) {
		t.Errorf("facts %+v", f)
	}
	want := listPOP3(t, src)
	if len(want) != 100 || want[7].UID != "u8" || want[7].Num != 8 || want[7].Size != int64(len(srv.Messages()[7])) {
		t.Fatalf("list %v", want)
	}
	g := got{}
	failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, g.take(t))
	if err != nil || len(failures) != 0 || len(g) != 100 {
		t.Fatalf("%d messages, %v, %v", len(g), failures, err)
	}
	for i, m := range srv.Messages() {
		if !bytes.Equal(g[uint32(i+1)], m) {
			t.Errorf("message %d differs", i+1)
		}
	}
	heads := 0
	err = src.Heads(t.Context(), inbox, fetch.State{}, want[:50], func(l fetch.Listed, head []byte) error {
		heads++
		if m := srv.Messages()[l.Num-1]; !bytes.HasPrefix(m, head) || !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			t.Errorf("head %q", head)
		}
		return nil
	})
	if err != nil || heads != 50 {
		t.Errorf("%d heads, %v", heads, err)
	}
	_, err = src.Changes(t.Context(), inbox, fetch.State{}, func(fetch.Listed) error { t.Error("Changes calls"); return nil })
	if err != nil {
		t.Error(err)
	}
	if _, err := src.List(t.Context(), fetch.Mailbox{Name: "Sent"}, nil); why(err) != "missing no-such-mailbox" {
		t.Errorf("other mailbox: %v", err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	commands := srv.Commands()
	if commands[len(commands)-1] != "QUIT" {
		t.Errorf("no QUIT: %q", commands[len(commands)-3:])
	}
	if srv.Pipelined() == 0 {
		t.Error("nothing was pipelined")
	}
}

func TestPOP3Facts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*fetchtest.POP3)
		want fetch.Facts
	}{
		{"nothing said", func(*fetchtest.POP3) {}, fetch.Facts{ExpireDays: -1}},
		{"30 days", func(s *fetchtest.POP3) { s.Expire = "30" }, fetch.Facts{ExpireDays: 30}},
		{"never", func(s *fetchtest.POP3) { s.Expire = "NEVER" }, fetch.Facts{ExpireDays: -1}},
		{"on RETR", func(s *fetchtest.POP3) { s.Expire = "0" }, fetch.Facts{ExpiresOnRetr: true}},
		{"no UIDL", func(s *fetchtest.POP3) { s.NoUIDL = true }, fetch.Facts{ExpireDays: -1, NoUniqueID: true}},
		{"no UIDL, no CAPA", func(s *fetchtest.POP3) { s.NoUIDL, s.NoCAPA = true, true }, fetch.Facts{ExpireDays: -1, NoUniqueID: true}},
		{"all blank", func(s *fetchtest.POP3) { s.SetUIDL(func(int, []byte) string { return "" }) }, fetch.Facts{ExpireDays: -1, NoUniqueID: true}},
		{"one blank", func(s *fetchtest.POP3) {
			s.SetUIDL(func(i int, _ []byte) string { return []string{"", "b", "c"}[i] })
		}, fetch.Facts{ExpireDays: -1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := pop3Server(t, 3)
			test.set(srv)
			src := openDrop(t, through(t, srv, nil))
			if _, err := src.Mailboxes(t.Context()); err != nil {
				t.Fatal(err)
			}
			test.want.Protocol = "pop3"
			if f := src.Facts(); f != test.want {
				t.Errorf("got %+v, want %+v", f, test.want)
			}
		})
	}
}

func TestPOP3Ordinals(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 6)
	srv.SetUIDL(func(i int, _ []byte) string { return []string{"a", "b", "a", "", "a", ""}[i] })
	var names []string
	for _, l := range listPOP3(t, openDrop(t, through(t, srv, nil))) {
		names = append(names, fmt.Sprintf("%s/%d", l.UID, l.Ordinal))
	}
	if s := strings.Join(names, " "); s != "a/0 b/0 a/1 /0 a/2 /0" {
		t.Errorf("got %s", s)
	}
}

// 69 messages named where 70 were counted is not a list.
func TestPOP3ListIncomplete(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 70)
	s := through(t, srv, func(int) fetchtest.Faults {
		listing := false
		return fetchtest.Faults{
			RewriteCommand: func(line []byte) []byte { listing = string(line) == "LIST\r\n"; return line },
			Rewrite: func(line []byte) []byte {
				if listing && bytes.HasPrefix(line, []byte("44 ")) {
					return nil
				}
				return line
			},
		}
	})
	src := openDrop(t, s)
	boxes, err := src.Mailboxes(t.Context())
	if err != nil || boxes[0].Status.Messages != 70 {
		t.Fatalf("mailboxes %+v, %v", boxes, err)
	}
	_, err = src.List(t.Context(), inbox, func(fetch.Listed) error { t.Error("something is listed"); return nil })
	var e *session.Error
	if !errors.As(err, &e) || e.Reason != "list-incomplete" || e.Reach != session.ReachAccount {
		t.Errorf("got %v", err)
	}
	src.Close()
	if slices.Contains(srv.Commands(), "QUIT") {
		t.Error("QUIT after an incomplete list")
	}
}

// A line that is cut within a message, once in each session: everything comes,
// nothing twice, and nothing that was not whole.
func TestPOP3Resume(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*fetchtest.POP3)
		rst  bool
	}{
		{"pipelined", func(*fetchtest.POP3) {}, false},
		{"reset", func(*fetchtest.POP3) {}, true},
		{"one by one", func(s *fetchtest.POP3) { s.NoPipelining = true }, false},
		{"twins", func(s *fetchtest.POP3) { s.SetUIDL(func(i int, _ []byte) string { return fmt.Sprint("t", i/2) }) }, false},
		{"no unique-ids", func(s *fetchtest.POP3) { s.NoUIDL = true }, false},
		{"sizes lie", func(s *fetchtest.POP3) { s.ListSize = func(i int, n int64) int64 { return n/3 + int64(i) } }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := pop3Server(t, 60)
			test.set(srv)
			src := openDrop(t, through(t, srv, func(conn int) fetchtest.Faults {
				if conn < 4 {
					return fetchtest.Faults{CutAfter: 3000 + int64(conn)*15_000 + 17, RST: test.rst}
				}
				return fetchtest.Faults{}
			}))
			// The list alone may be longer than the first session lives.
			var want []fetch.Listed
			for want == nil {
				if _, err := src.Mailboxes(t.Context()); err != nil {
					continue
				}
				want = listPOP3(t, src)
			}
			g := got{}
			failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, g.take(t))
			if err != nil || len(failures) != 0 || len(g) != 60 {
				t.Fatalf("%d messages, %v, %v", len(g), failures, err)
			}
			for i, m := range srv.Messages() {
				if !bytes.Equal(g[uint32(i+1)], m) {
					t.Errorf("message %d differs", i+1)
				}
			}
			src.Close()
		})
	}
}

// What changes on the server between two sessions of one Fetch.
func TestPOP3ResumeChanged(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		set    func(*fetchtest.POP3)
		change func(*fetchtest.POP3)
		brings int               // messages that come in the end
		fails  map[uint32]string // by number in the first list
	}{
		{
			name:   "one before is removed, one is new",
			change: func(s *fetchtest.POP3) { s.Remove(0); s.Add(letter(99, 100), "u99") },
			brings: 10,
		},
		{
			name:   "one that was wanted is removed",
			change: func(s *fetchtest.POP3) { s.Remove(7) },
			brings: 9, fails: map[uint32]string{8: "missing gone, gone"},
		},
		{
			name:   "one of three twins is removed",
			set:    func(s *fetchtest.POP3) { s.SetUIDL(func(i int, b []byte) string { return twinName(b, 6, 7, 8) }) },
			change: func(s *fetchtest.POP3) { s.Remove(6) },
			brings: 7, fails: map[uint32]string{6: "missing identity-lost", 7: "missing identity-lost", 8: "missing identity-lost"},
		},
		{
			name:   "all are named anew",
			change: func(s *fetchtest.POP3) { s.SetUIDL(func(i int, _ []byte) string { return fmt.Sprint("new", i) }) },
			brings: 4, fails: map[uint32]string{5: "missing identity-lost", 6: "missing identity-lost", 7: "missing identity-lost", 8: "missing identity-lost", 9: "missing identity-lost", 10: "missing identity-lost"},
		},
		{
			name:   "without unique-ids, one is new",
			set:    func(s *fetchtest.POP3) { s.NoUIDL = true },
			change: func(s *fetchtest.POP3) { s.Add(letter(99, 100), "u99") },
			brings: 4, fails: map[uint32]string{5: "missing identity-lost", 6: "missing identity-lost", 7: "missing identity-lost", 8: "missing identity-lost", 9: "missing identity-lost", 10: "missing identity-lost"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := pop3Server(t, 10)
			srv.NoPipelining = true
			if test.set != nil {
				test.set(srv)
			}
			src := openDrop(t, through(t, srv, func(conn int) fetchtest.Faults {
				if conn > 0 {
					return fetchtest.Faults{}
				}
				return fetchtest.Faults{CutAtCommand: func(line []byte) bool {
					if string(line) == "RETR 5\r\n" {
						test.change(srv)
						return true
					}
					return false
				}}
			}))
			want := listPOP3(t, src)
			g := got{}
			failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, want, g.take(t))
			if err != nil || len(g) != test.brings || len(failures) != len(test.fails) {
				t.Fatalf("%d messages, %v, %v", len(g), failures, err)
			}
			for num, m := range g {
				if !bytes.Equal(m, letter(int(num), 2000)) {
					t.Errorf("message %d is another", num)
				}
			}
			for _, f := range failures {
				text := why(f.Err)
				if f.Gone {
					text += ", gone"
				}
				if text != test.fails[f.Listed.Num] || f.Err.Reach != session.ReachMessage {
					t.Errorf("message %d: %s", f.Listed.Num, text)
				}
			}
		})
	}
}

// twinName names the letters of the given numbers alike.
func twinName(octets []byte, twins ...int) string {
	for _, n := range twins {
		if bytes.Contains(octets, fmt.Appendf(nil, "Subject: letter %d\r\n", n)) {
			return "twin"
		}
	}
	_, subject, _ := strings.Cut(string(octets), "Subject: ")
	subject, _, _ = strings.Cut(subject, "\r\n")
	return strings.ReplaceAll(subject, " ", "")
}

func TestPOP3Refused(t *testing.T) {
	t.Parallel()
	srv := pop3Server(t, 10)
	removed := false
	srv.RefuseRetr = func(i int) string {
		switch i {
		case 2:
			return "cannot read it"
		case 5:
			if !removed {
				removed = true
				srv.Remove(5)
			}
			return "no such message"
		}
		return ""
	}
	src := openDrop(t, through(t, srv, nil))
	g := got{}
	failures, err := src.Fetch(t.Context(), inbox, fetch.State{}, listPOP3(t, src), g.take(t))
	if err != nil || len(g) != 8 || len(failures) != 2 {
		t.Fatalf("%d messages, %v, %v", len(g), failures, err)
	}
	for _, f := range failures {
		if why(f.Err) != "refused message-refused" || f.Err.Reach != session.ReachMessage || f.Err.Server == "" ||
			f.Gone != (f.Listed.UID == "u6") {
			t.Errorf("%+v, %+v", f, *f.Err)
		}
	}
}
