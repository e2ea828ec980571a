package fetchtest_test

import (
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

func newPOP3(messages ...string) *fetchtest.POP3 {
	s := fetchtest.NewPOP3("taro", "secret")
	for i, m := range messages {
		s.Add([]byte(m), fmt.Sprintf("id-%d", i+1))
	}
	return s
}

func openPOP3(t testing.TB, s *fetchtest.POP3) *rawConn {
	t.Helper()
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	c := rawDial(t, addr)
	c.line("+OK")
	loginPOP3(c, s)
	return c
}

func loginPOP3(c *rawConn, s *fetchtest.POP3) {
	c.t.Helper()
	c.send("USER %s\r\n", s.User)
	c.line("+OK")
	c.send("PASS %s\r\n", s.Password)
	c.line("+OK")
}

func TestPOP3Session(t *testing.T) {
	s := newPOP3("A: b\r\n\r\nfirst\r\n", "C: d\r\n\r\nsecond\r\n", "E: f\r\n\r\nthird\r\n")
	c := openPOP3(t, s)
	c.send("STAT\r\n")
	c.line("+OK 3 46")
	if got := string(c.multi("LIST")); got != "1 15\r\n2 16\r\n3 15\r\n" {
		t.Errorf("LIST %q", got)
	}
	if got := string(c.multi("UIDL")); got != "1 id-1\r\n2 id-2\r\n3 id-3\r\n" {
		t.Errorf("UIDL %q", got)
	}
	c.send("UIDL 2\r\n")
	c.line("+OK 2 id-2")
	if got := string(c.multi("TOP 2 0")); got != "C: d\r\n\r\n" {
		t.Errorf("TOP %q", got)
	}
	c.send("DELE 1\r\n")
	c.line("+OK")
	c.send("RETR 1\r\n")
	c.line("-ERR")
	if got := string(c.multi("UIDL")); got != "2 id-2\r\n3 id-3\r\n" {
		t.Errorf("UIDL after DELE %q", got)
	}
	c.send("RSET\r\nDELE 3\r\nNOOP\r\nNONSENSE\r\nRETR 9\r\nQUIT\r\n")
	for _, want := range []string{"+OK", "+OK", "+OK", "-ERR", "-ERR", "+OK"} {
		c.line(want)
	}
	if n := len(s.Messages()); n != 2 || s.Deletes() != 2 {
		t.Errorf("%d messages, %d deletes", n, s.Deletes())
	}
	if s.Pipelined() == 0 {
		t.Error("pipelining went unnoticed")
	}
	if log := s.Commands(); !slices.Equal(log[:3], []string{"USER taro", "PASS ***", "STAT"}) {
		t.Errorf("log %q", log)
	}
}

func TestPOP3DropWithoutQUIT(t *testing.T) {
	s := newPOP3("one\r\n", "two\r\n")
	c := openPOP3(t, s)
	c.send("DELE 1\r\n")
	c.line("+OK")
	c.Close()
	if n := len(s.Messages()); n != 2 || s.Deletes() != 1 {
		t.Errorf("%d messages, %d deletes", n, s.Deletes())
	}
}

func TestPOP3Octets(t *testing.T) {
	odd := fetchtest.Strange()
	s := newPOP3()
	for _, o := range odd {
		s.Add(o.Octets, o.Name)
	}
	c := openPOP3(t, s)
	for i, o := range odd {
		if got := c.multi(fmt.Sprintf("RETR %d", i+1)); !bytes.Equal(got, fetchtest.AsPOP3(o.Octets)) {
			t.Errorf("%s: octets differ", o.Name)
		}
		end, whole := fetchtest.HeaderEnd(o.Octets)
		want := o.Octets[:end]
		if !whole {
			want = fetchtest.AsPOP3(want)
		}
		if got := c.multi(fmt.Sprintf("TOP %d 0", i+1)); !bytes.Equal(got, want) && whole == bytes.HasSuffix(want, []byte("\r\n")) {
			t.Errorf("%s: TOP differs: %q", o.Name, got)
		}
	}
	if s.Retrieved() != len(odd) {
		t.Errorf("%d retrieved", s.Retrieved())
	}
}

func TestPOP3AnyOctets(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		messages := rapid.SliceOfN(rapid.Custom(drawOctets), 1, 4).Draw(r, "messages")
		s := newPOP3()
		for _, m := range messages {
			s.Add(m, "x")
		}
		addr, err := s.Listen()
		if err != nil {
			r.Fatal(err)
		}
		defer s.Close()
		c := rawDial(t, addr)
		defer c.Close()
		c.line("+OK")
		loginPOP3(c, s)
		for i, m := range messages {
			got := c.multi(fmt.Sprintf("RETR %d", i+1))
			if !bytes.Equal(got, fetchtest.AsPOP3(m)) {
				r.Fatalf("got %q, want %q", got, m)
			}
			if rest := bytes.TrimPrefix(got, m); len(rest) > 0 && string(rest) != "\r\n" {
				r.Fatalf("more than a line end was added: %q", rest)
			}
		}
	})
}

func TestPOP3Login(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const stamp = "<1896.697170952@example.jp>"
	tests := []struct {
		name     string
		set      func(*fetchtest.POP3)
		dialogue []string // sent, answered, sent, …
	}{
		{"wrong password", nil, []string{"USER taro", "+OK", "PASS wrong", "-ERR [AUTH]"}},
		{"pass without user", nil, []string{"PASS secret", "-ERR"}},
		{"not before login", nil, []string{"STAT", "-ERR", "RETR 1", "-ERR"}},
		{"plain", nil, []string{"AUTH PLAIN", "+ ", encode("\x00taro\x00secret"), "+OK", "STAT", "+OK 1 3"}},
		{"plain initial", nil, []string{"AUTH PLAIN " + encode("\x00taro\x00secret"), "+OK"}},
		{"plain wrong", nil, []string{"AUTH PLAIN " + encode("\x00taro\x00no"), "-ERR [AUTH]"}},
		{"xoauth2", func(s *fetchtest.POP3) { s.Token = "tok" },
			[]string{"AUTH XOAUTH2", "+ ", encode("user=taro\x01auth=Bearer tok\x01\x01"), "+OK"}},
		{"xoauth2 wrong", func(s *fetchtest.POP3) { s.Token = "tok" },
			[]string{"AUTH XOAUTH2 " + encode("user=taro\x01auth=Bearer no\x01\x01"), "+ ey", "", "-ERR [AUTH]"}},
		{"apop", func(s *fetchtest.POP3) { s.APOP = stamp },
			[]string{"APOP taro " + fmt.Sprintf("%x", md5.Sum([]byte(stamp+"secret"))), "+OK"}},
		{"apop wrong", func(s *fetchtest.POP3) { s.APOP = stamp }, []string{"APOP taro 00", "-ERR"}},
		{"no apop", nil, []string{"APOP taro 00", "-ERR Unknown"}},
		{"no user", func(s *fetchtest.POP3) { s.NoUser = true }, []string{"USER taro", "-ERR"}},
		{"refused", func(s *fetchtest.POP3) { s.RefuseLogin = func(string) string { return "[LOGIN-DELAY] wait" } },
			[]string{"USER taro", "+OK", "PASS secret", "-ERR [LOGIN-DELAY] wait"}},
		{"in use", func(s *fetchtest.POP3) { s.Lock(true) },
			[]string{"USER taro", "+OK", "PASS secret", "-ERR [IN-USE]"}},
		{"stls first", func(s *fetchtest.POP3) { s.Security = session.STARTTLS }, []string{"USER taro", "-ERR", "AUTH PLAIN", "-ERR"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newPOP3("one")
			if test.set != nil {
				test.set(s)
			}
			c := rawDial(t, must(s.Listen()))
			defer s.Close()
			c.line(strings.TrimSpace("+OK POP3 server ready " + s.APOP))
			for pair := range slices.Chunk(test.dialogue, 2) {
				c.send("%s\r\n", pair[0])
				c.line(pair[1])
			}
			if log := strings.Join(s.Commands(), "\n"); strings.Contains(log, "secret") || strings.Contains(log, encode("\x00taro\x00secret")) {
				t.Errorf("secret in log:\n%s", log)
			}
		})
	}
}

func TestPOP3LockIsExclusive(t *testing.T) {
	s := newPOP3("one")
	c := openPOP3(t, s)
	second := rawDial(t, c.RemoteAddr())
	second.line("+OK")
	second.send("USER taro\r\nPASS secret\r\n")
	second.line("+OK")
	second.line("-ERR [IN-USE]")
	c.send("QUIT\r\n")
	c.line("+OK")
	second.send("USER taro\r\nPASS secret\r\n")
	second.line("+OK")
	second.line("+OK")
}

func TestPOP3STLS(t *testing.T) {
	s := newPOP3("one")
	s.Security = session.STARTTLS
	c := rawDial(t, must(s.Listen()))
	defer s.Close()
	c.line("+OK")
	if caps := string(c.multi("CAPA")); !strings.Contains(caps, "STLS\r\n") || strings.Contains(caps, "USER") {
		t.Errorf("CAPA %q", caps)
	}
	c.send("STLS\r\nCAPA\r\n") // injected: must not be answered
	c.line("+OK")
	_, pool := fetchtest.Certificate()
	c.over(tls.Client(c.Conn, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}))
	loginPOP3(c, s)
	if caps := string(c.multi("CAPA")); strings.Contains(caps, "STLS") || !strings.Contains(caps, "PIPELINING\r\n") {
		t.Errorf("CAPA %q", caps)
	}
}

func TestPOP3Poorer(t *testing.T) {
	tests := []struct {
		name    string
		set     func(*fetchtest.POP3)
		command string
		want    string // "-ERR" or the octets of a multi-line answer
	}{
		{"no CAPA", func(s *fetchtest.POP3) { s.NoCAPA = true }, "CAPA", "-ERR"},
		{"no TOP", func(s *fetchtest.POP3) { s.NoTOP = true }, "TOP 1 0", "-ERR"},
		{"no UIDL", func(s *fetchtest.POP3) { s.NoUIDL = true }, "UIDL", "-ERR"},
		{"window", func(s *fetchtest.POP3) { s.Window = 1 }, "UIDL", "1 id-1\r\n"},
		{"lying sizes", func(s *fetchtest.POP3) { s.ListSize = func(i int, n int64) int64 { return n + int64(i) } }, "LIST", "1 5\r\n2 6\r\n"},
		{"one unique-id missing", func(s *fetchtest.POP3) { s.OmitUIDL = func(i int) bool { return i == 0 } }, "UIDL", "2 id-2\r\n"},
		{"equal unique-ids", func(s *fetchtest.POP3) { s.SetUIDL(func(int, []byte) string { return "same" }) }, "UIDL", "1 same\r\n2 same\r\n"},
		{"blank unique-ids", func(s *fetchtest.POP3) { s.SetUIDL(func(int, []byte) string { return "" }) }, "UIDL", "1 \r\n2 \r\n"},
		{"refused message", func(s *fetchtest.POP3) { s.RefuseRetr = func(i int) string { return "[SYS/PERM] unreadable" } }, "RETR 2", "-ERR"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newPOP3("one\r\n", "two\r\n")
			test.set(s)
			c := openPOP3(t, s)
			if test.want == "-ERR" {
				c.send("%s\r\n", test.command)
				c.line("-ERR")
			} else if got := string(c.multi(test.command)); got != test.want {
				t.Errorf("%s: %q, want %q", test.command, got, test.want)
			}
		})
	}
}

func TestPOP3CAPA(t *testing.T) {
	s := newPOP3()
	s.Expire, s.LoginDelay, s.NoPipelining = "0", "60", true
	c := openPOP3(t, s)
	caps := string(c.multi("CAPA"))
	for _, want := range []string{"EXPIRE 0\r\n", "LOGIN-DELAY 60\r\n", "UIDL\r\n", "TOP\r\n"} {
		if !strings.Contains(caps, want) {
			t.Errorf("no %q in %q", want, caps)
		}
	}
	if strings.Contains(caps, "PIPELINING") {
		t.Errorf("PIPELINING in %q", caps)
	}
}
