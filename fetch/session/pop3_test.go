package session

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	hello    = "S +OK ready\r\n"
	plainOut = "S +OK\r\nUSER\r\nUIDL\r\nTOP\r\nEXPIRE 30\r\n.\r\n"
	pipedOut = "S +OK\r\nUSER\r\nUIDL\r\nTOP\r\nPIPELINING\r\n.\r\n"
)

var (
	capa     = script("C CAPA", plainOut)
	noCapa   = script("C CAPA", "S -ERR what?\r\n")
	userPass = script("C USER taro@example.jp", "S +OK\r\n", "C PASS "+canary, "S +OK\r\n")
	opened   = script(hello, capa, userPass, capa)
	piped    = script(hello, "C CAPA", pipedOut, userPass, "C CAPA", pipedOut)
)

// watchSecrets makes everything that leaves the session visible, and fails the
// test if a secret is in it.
func watchSecrets(t *testing.T, s *Server, secrets ...string) (seen *syncBuffer) {
	seen = new(syncBuffer)
	s.Transcript = seen
	s.Trace = &Trace{
		Greeting:     func(line string) { fmt.Fprintln(seen, line) },
		Capabilities: func(caps []string, _ bool) { fmt.Fprintln(seen, caps) },
		Auth:         func(mech string, err error) { fmt.Fprintln(seen, mech, err) },
		Command:      func(line string) { fmt.Fprintln(seen, line) },
	}
	t.Cleanup(func() {
		for _, secret := range append(secrets, canary) {
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(seen.String(), form) {
					t.Errorf("%q in:\n%s", form, seen.String())
				}
			}
		}
	})
	return seen
}

// showError adds an error to what watchSecrets looks at.
func showError(w io.Writer, err error) {
	var e *Error
	if errors.As(err, &e) {
		fmt.Fprintf(w, "%v %q %+v\n", e, e.Server, *e)
	}
}

func TestDialPOP3(t *testing.T) {
	t.Parallel()
	token := func(context.Context) (Secret, error) { return Secret{Token: canary}, nil }
	plainIR := base64.StdEncoding.EncodeToString([]byte("\x00taro@example.jp\x00" + canary))
	xoauth2 := base64.StdEncoding.EncodeToString([]byte("user=taro@example.jp\x01auth=Bearer " + canary + "\x01\x01"))
	user64 := base64.StdEncoding.EncodeToString([]byte("taro@example.jp"))
	canary64 := base64.StdEncoding.EncodeToString([]byte(canary))
	sasl := func(mechs string) []string { return script("C CAPA", "S +OK\r\nSASL "+mechs+"\r\n.\r\n") }
	refused := func(words string) []string {
		return script(hello, capa, "C USER", "S +OK\r\n", "C PASS", "S -ERR "+words+"\r\n")
	}
	for _, test := range []struct {
		name      string
		secret    func(context.Context) (Secret, error)
		user      string
		script    []string
		want      string
		server    string // Error.Server
		temporary bool
	}{
		{name: "USER and PASS", script: opened},
		{name: "no CAPA", script: script(hello, noCapa, userPass, noCapa)},
		{name: "bare LF everywhere", script: script("S +OK ready\n", "C CAPA", "S +OK\nUSER\n.\n", "C USER", "S +OK\n", "C PASS", "S +OK\n", "C CAPA", "S -ERR\n")},
		{name: "AUTH PLAIN", script: script(hello, sasl("PLAIN LOGIN"), "C AUTH PLAIN\r\n", "S + \r\n", "C "+plainIR+"\r\n", "S +OK\r\n", sasl("PLAIN"))},
		{name: "AUTH LOGIN", script: script(hello, sasl("LOGIN"), "C AUTH LOGIN\r\n", "S + VXNlcm5hbWU6\r\n", "C "+user64, "S + Password?\r\n", "C "+canary64, "S +OK\r\n", sasl("LOGIN"))},
		{name: "XOAUTH2", secret: token, script: script(hello, sasl("PLAIN XOAUTH2"), "C AUTH XOAUTH2\r\n", "S +\r\n", "C "+xoauth2+"\r\n", "S +OK\r\n", sasl("XOAUTH2"))},
		{name: "XOAUTH2 refused", secret: token, script: script(hello, sasl("XOAUTH2"), "C AUTH XOAUTH2\r\n", "S +\r\n", "C "+xoauth2+"\r\n", "S + "+base64.StdEncoding.EncodeToString([]byte(`{"status":"401"}`))+"\r\n", "C \r\n", "S -ERR\r\n"), want: "auth refused-or-busy", server: `{"status":"401"}`},
		{name: "OAUTHBEARER refused", secret: token, script: script(hello, sasl("OAUTHBEARER"), "C AUTH OAUTHBEARER\r\n", "S +\r\n", "C ", "S + e30=\r\n", "C AQ==\r\n", "S -ERR [AUTH] expired\r\n"), want: "auth refused", server: "[AUTH] expired"},
		{name: "no mechanism for a token", secret: token, script: script(hello, sasl("PLAIN")), want: "policy token-not-offered"},
		{name: "one challenge too many", script: script(hello, sasl("PLAIN"), "C AUTH PLAIN", "S + \r\n", "C "+plainIR, "S + more\r\n", "C *\r\n", "S -ERR cancelled\r\n"), want: "protocol sasl-challenge"},
		{name: "consent before the secret", script: script(hello, sasl("PLAIN"), "C AUTH PLAIN", "S +OK\r\n"), want: "protocol auth-out-of-order"},
		{name: "APOP", script: script("S +OK <1896.697170952@dbc.mtview.ca.us>\r\n", noCapa, "C APOP taro@example.jp ", "S +OK\r\n", noCapa)},
		{name: "a timestamp does not forbid USER", script: script("S +OK <1896.697170952@dbc.mtview.ca.us>\r\n", capa, userPass, capa)},
		{name: "APOP does not work, USER does", script: script("S +OK <1896.697170952@dbc.mtview.ca.us>\r\n", noCapa, "C APOP taro@example.jp ", "S -ERR no\r\n", userPass, noCapa)},
		{name: "APOP and in use", script: script("S +OK <1896.697170952@dbc.mtview.ca.us>\r\n", noCapa, "C APOP", "S -ERR [IN-USE] no\r\n"), want: "busy in-use", server: "[IN-USE] no", temporary: true},

		{name: "IMAP", script: script("S * OK IMAP4rev1\r\n"), want: "protocol greeting-imap-on-pop3", server: "* OK IMAP4rev1"},
		{name: "SMTP", script: script("S 220-smtp\r\n220 x\r\n"), want: "protocol greeting-smtp", server: "220-smtp"},
		{name: "HTTP", script: script("S HTTP/1.1 400 Bad Request\r\n"), want: "protocol greeting-http", server: "HTTP/1.1 400 Bad Request"},
		{name: "SSH", script: script("S SSH-2.0-x\r\n"), want: "protocol greeting-unknown", server: "SSH-2.0-x"},
		{name: "OKAY", script: script("S +OKAY\r\n"), want: "protocol greeting-unknown", server: "+OKAY"},
		{name: "refused at the door", script: script("S -ERR go away\r\n"), want: "refused greeting-refused", server: "go away"},
		{name: "busy at the door", script: script("S -ERR [SYS/TEMP] later\r\n"), want: "busy sys-temp", server: "[SYS/TEMP] later", temporary: true},
		{name: "closed", script: script("CUT"), want: "network closed", temporary: true},
		{name: "endless line", script: script("S " + strings.Repeat("+OK ", 1<<20)), want: "protocol line-too-long"},

		{name: "wrong password or busy", script: refused("no"), want: "auth refused-or-busy", server: "no"},
		{name: "wrong password", script: refused("[AUTH] no"), want: "auth refused", server: "[AUTH] no"},
		{name: "in use", script: refused("[IN-USE] x"), want: "busy in-use", server: "[IN-USE] x", temporary: true},
		{name: "in use, lower case", script: refused("[in-use] x"), want: "busy in-use", server: "[in-use] x", temporary: true},
		{name: "login delay", script: refused("[LOGIN-DELAY]"), want: "busy login-delay", server: "[LOGIN-DELAY]", temporary: true},
		{name: "temporary", script: refused("[SYS/TEMP/DB] x"), want: "busy sys-temp", server: "[SYS/TEMP/DB] x", temporary: true},
		{name: "permanent", script: refused("[SYS/PERM] x"), want: "refused sys-perm", server: "[SYS/PERM] x"},
		{name: "locked, in words", script: refused("Maildrop already locked"), want: "busy in-use", server: "Maildrop already locked", temporary: true},
		{name: "limit, in words", script: refused("Exceeded the login limit for a 15 minute period."), want: "busy login-delay", server: "Exceeded the login limit for a 15 minute period.", temporary: true},
		{name: "password echoed", script: refused("bad password " + canary), want: "auth refused-or-busy", server: "bad password ***"},
		{name: "USER refused", script: script(hello, capa, "C USER", "S -ERR no such user\r\n"), want: "auth refused-or-busy", server: "no such user"},
		{name: "unknown status", script: script(hello, capa, "C USER", "S ?\r\n"), want: "protocol unknown-status", server: "?"},
		{name: "empty status", script: script(hello, capa, "C USER", "S \r\n"), want: "protocol unknown-status"},

		{name: "user with a line end", user: "a\r\nDELE 1", script: script(hello, capa), want: "auth credential-control-character"},
		{name: "no secret", secret: func(context.Context) (Secret, error) { return Secret{}, nil }, script: script(hello, capa), want: "auth secret-empty"},
		{name: "secret out of reach", secret: func(context.Context) (Secret, error) { return Secret{}, io.ErrClosedPipe }, script: script(hello, capa), want: "local secret-unavailable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			peer, s := play(t, Cleartext, nil, test.script)
			if test.secret != nil {
				s.Secret = test.secret
			}
			if test.user != "" {
				s.User = test.user
			}
			seen := watchSecrets(t, &s, plainIR, xoauth2)
			p, err := DialPOP3(t.Context(), s)
			showError(seen, err)
			if reason(err) != test.want {
				t.Fatalf("got %q, want %q", reason(err), test.want)
			}
			var e *Error
			if errors.As(err, &e) {
				if e.Server != test.server || e.Temporary != test.temporary || e.Reach != ReachAccount {
					t.Errorf("got %+v", *e)
				}
			}
			if p != nil {
				p.Drop()
			}
			if heard := peer.heard(); slices.Contains(heard, "QUIT") {
				t.Errorf("QUIT after a failure: %q", heard)
			}
		})
	}
}

func TestSTLS(t *testing.T) {
	t.Parallel()
	offer := script(hello, "C CAPA", "S +OK\r\nSTLS\r\nSASL PLAIN\r\n.\r\n", "C STLS\r\n")
	for _, test := range []struct {
		name   string
		script []string
		want   string
	}{
		{name: "good", script: script(offer, "S +OK\r\n", "TLS", capa, userPass, capa)},
		{name: "no CAPA", script: script(hello, noCapa, "C STLS", "S +OK\r\n", "TLS", capa, userPass, capa)},
		{name: "stripped from CAPA", script: script(hello, capa), want: "policy starttls-missing"},
		{name: "refused", script: script(offer, "S -ERR no\r\n"), want: "tls starttls-refused"},
		{name: "injection", script: script(offer, "S +OK\r\n+OK injected\r\n"), want: "tls starttls-injection"},
		{name: "no handshake", script: script(offer, "S +OK\r\n", "S hello? hello?\r\n"), want: "tls not-tls"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			peer, s := play(t, STARTTLS, goodCert(t), test.script)
			asked := false
			secret := s.Secret
			s.Secret = func(ctx context.Context) (Secret, error) { asked = true; return secret(ctx) }
			watchSecrets(t, &s)
			p, err := DialPOP3(t.Context(), s)
			got := reason(err)
			// The second line of an injection may come after the first was read;
			// then the handshake stumbles over it.
			if got != test.want && !(test.name == "injection" && got == "tls not-tls") &&
				!(test.name == "no handshake" && got == "tls starttls-injection") {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			if asked != (test.want == "") {
				t.Errorf("secret asked: %v", asked)
			}
			if p != nil {
				p.Drop()
			}
			for _, line := range peer.heard() {
				if test.want != "" && (strings.HasPrefix(line, "USER") || strings.HasPrefix(line, "AUTH")) {
					t.Errorf("%q was said in clear", line)
				}
			}
		})
	}
}

func dialScript(t *testing.T, steps []string) (*peer, *POP3, *syncBuffer) {
	t.Helper()
	peer, s := play(t, Cleartext, nil, steps)
	seen := watchSecrets(t, &s)
	p, err := DialPOP3(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Drop)
	return peer, p, seen
}

func TestPOP3Stat(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer string
		n      uint32
		octets int64
		want   string
	}{
		{answer: "+OK 2 320\r\n", n: 2, octets: 320},
		{answer: "+OK 0 0\r\n"},
		{answer: "+OK 2\r\n", n: 2},
		{answer: "+OK 2 99999999999999999999\r\n", n: 2, octets: 1<<63 - 1},
		{answer: "+OK\r\n", want: "protocol stat-malformed"},
		{answer: "+OK -1 5\r\n", want: "protocol stat-malformed"},
		{answer: "+OK 4294967295 5\r\n", want: "protocol stat-malformed"},
		{answer: "+OK two 5\r\n", want: "protocol stat-malformed"},
		{answer: "-ERR [SYS/TEMP] x\r\n", want: "busy sys-temp"},
		{answer: "-ERR x\r\n", want: "refused stat-refused"},
		{answer: "\r\n", want: "protocol unknown-status"},
	} {
		_, p, _ := dialScript(t, script(opened, "C STAT", "S "+test.answer))
		n, octets, err := p.Stat(t.Context())
		if n != test.n || octets != test.octets || reason(err) != test.want {
			t.Errorf("%q: got %d, %d, %v", test.answer, n, octets, err)
		}
	}
}

func TestPOP3Listing(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("u", maxUniqueID)
	for _, test := range []struct {
		name   string
		count  uint32
		list   string
		uidl   string
		want   []POP3Message
		noUIDL bool
		err    string
	}{
		{name: "plain", count: 2, list: "+OK\r\n1 10\r\n2 20\r\n.\r\n", uidl: "+OK\r\n1 a\r\n2 b\r\n.\r\n",
			want: []POP3Message{{1, 10, "a"}, {2, 20, "b"}}},
		{name: "one missing in LIST", count: 2, list: "+OK\r\n1 10\r\n.\r\n", err: "protocol list-incomplete"},
		{name: "a broken line in LIST", count: 2, list: "+OK\r\n1 10\r\nxyz\r\n.\r\n", err: "protocol list-incomplete"},
		{name: "one twice in LIST", count: 2, list: "+OK\r\n1 10\r\n1 10\r\n.\r\n", err: "protocol list-incomplete"},
		{name: "later ones", count: 1, list: "+OK\r\n1 10\r\n2 20\r\n.\r\n", uidl: "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n",
			want: []POP3Message{{1, 10, "a"}}},
		{name: "gaps", count: 2, list: "+OK\r\n1 10\r\n7 20\r\n.\r\n", uidl: "+OK\r\n7 b\r\n1 a\r\n.\r\n",
			want: []POP3Message{{1, 10, "a"}, {7, 20, "b"}}},
		{name: "sizes that are none", count: 4, list: "+OK\r\n1\r\n2 -5\r\n3 x\r\n 4  8 extra\r\n.\r\n", uidl: "+OK\r\n.\r\n",
			want: []POP3Message{{1, -1, ""}, {2, -1, ""}, {3, -1, ""}, {4, 8, ""}}},
		{name: "odd unique-ids", count: 8, list: "+OK\r\n1 1\r\n2 1\r\n3 1\r\n4 1\r\n5 1\r\n6 1\r\n7 1\r\n8 1\r\n.\r\n",
			uidl: "+OK\r\n1\r\n2 \r\n\r\nnonsense\r\n3 with a space\r\n4 " + long + "\r\n5 " + long + "u\r\n6 \x01\r\n7 \xff\xfe\r\n8 last\r\n.\r\n",
			want: []POP3Message{{1, 1, ""}, {2, 1, ""}, {3, 1, "with a space"}, {4, 1, long}, {5, 1, ""}, {6, 1, ""}, {7, 1, ""}, {8, 1, "last"}}},
		{name: "a unique-id of 10 kB", count: 2, list: "+OK\r\n1 1\r\n2 1\r\n.\r\n", uidl: "+OK\r\n1 " + strings.Repeat("u", 10000) + "\r\n2 b\r\n.\r\n",
			want: []POP3Message{{1, 1, ""}, {2, 1, "b"}}},
		{name: "equal unique-ids", count: 2, list: "+OK\r\n1 1\r\n2 1\r\n.\r\n", uidl: "+OK\r\n1 a\r\n2 a\r\n.\r\n",
			want: []POP3Message{{1, 1, "a"}, {2, 1, "a"}}},
		{name: "two names for one", count: 2, list: "+OK\r\n1 1\r\n2 1\r\n.\r\n", uidl: "+OK\r\n1 a\r\n1 b\r\n2 c\r\n.\r\n",
			want: []POP3Message{{1, 1, ""}, {2, 1, "c"}}},
		{name: "no UIDL", count: 1, list: "+OK\r\n1 1\r\n.\r\n", uidl: "-ERR what?\r\n", want: []POP3Message{{1, 1, ""}}, noUIDL: true},
		{name: "bare LF", count: 2, list: "+OK\n1 10\n2 20\n.\n", uidl: "+OK\n1 a\n2 b\n.\n",
			want: []POP3Message{{1, 10, "a"}, {2, 20, "b"}}},
		{name: "bare LF dot in a CRLF list", count: 2, list: "+OK\r\n1 10\r\n.\n2 20\r\n.\r\n", uidl: "+OK\r\n.\r\n",
			want: []POP3Message{{1, 10, ""}, {2, 20, ""}}},
		{name: "LIST refused", count: 1, list: "-ERR [SYS/TEMP] x\r\n", err: "busy sys-temp"},
		{name: "endless list", count: 1, list: "+OK\r\n" + strings.Repeat("9 9\r\n", 5000), err: "protocol list-too-long"},
		{name: "endless line", count: 1, list: "+OK\r\n" + strings.Repeat("9", 1<<20), err: "protocol line-too-long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			steps := script(opened, "C LIST\r\n", "S "+test.list)
			if test.err == "" {
				steps = script(steps, "C UIDL\r\n", "S "+test.uidl)
			}
			_, p, _ := dialScript(t, steps)
			got, uidl, err := p.Listing(t.Context(), test.count)
			if reason(err) != test.err {
				t.Fatalf("got %v, want %q", err, test.err)
			}
			if !slices.Equal(got, test.want) || err == nil && uidl == test.noUIDL {
				t.Errorf("got %v, UIDL %v; want %v", got, uidl, test.want)
			}
		})
	}
}

func TestPOP3Retr(t *testing.T) {
	t.Parallel()
	one := "+OK\r\nA: 1\r\n\r\n..\r\n.\r\n"
	for _, test := range []struct {
		name    string
		answers string
		want    []string // for each message: its octets, "!words", or "?" for a failed body
		err     string
	}{
		{name: "good", answers: one + one + one, want: []string{"A: 1\r\n\r\n.\r\n", "A: 1\r\n\r\n.\r\n", "A: 1\r\n\r\n.\r\n"}},
		{name: "refused", answers: one + "-ERR gone\r\n" + one, want: []string{"A: 1\r\n\r\n.\r\n", "!gone", "A: 1\r\n\r\n.\r\n"}},
		{name: "bare LF dot", answers: "+OK\r\na\n.\nb\r\n.\r\n" + one + one, want: []string{"a\n.\nb\r\n", "A: 1\r\n\r\n.\r\n", "A: 1\r\n\r\n.\r\n"}},
		{name: "unknown status", answers: one + "hello\r\n" + one, want: []string{"A: 1\r\n\r\n.\r\n"}, err: "protocol unknown-status"},
		{name: "ends early and goes on", answers: "+OK\r\na\r\n.\r\nrest of it\r\n.\r\n", want: []string{"a\r\n"}, err: "protocol unknown-status"},
	} {
		for _, piped_ := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pipelined %v", test.name, piped_), func(t *testing.T) {
				t.Parallel()
				steps := script(opened, "C RETR 1\r\n", "S "+test.answers)
				if piped_ {
					steps = script(piped, "C RETR 1\r\n", "C RETR 2\r\n", "C RETR 3\r\n", "S "+test.answers)
				}
				peer, p, _ := dialScript(t, steps)
				var got []string
				err := p.Retr(t.Context(), []POP3Message{{Num: 1}, {Num: 2}, {Num: 3, Size: -1}}, func(i int, body io.Reader, refused *Error) error {
					if i != len(got) {
						t.Errorf("called with %d behind %d", i, len(got))
					}
					if refused != nil {
						if refused.Reach != ReachMessage {
							t.Errorf("refusal %+v", *refused)
						}
						got = append(got, "!"+refused.Server)
						return nil
					}
					b, err := io.ReadAll(body)
					got = append(got, string(b))
					return err
				})
				if reason(err) != test.err || !slices.Equal(got, test.want) {
					t.Errorf("got %q, %v; want %q, %q", got, err, test.want, test.err)
				}
				if test.err != "" {
					if _, _, again := p.Stat(t.Context()); again != err {
						t.Errorf("after the failure: %v", again)
					}
					if slices.Contains(peer.heard(), "QUIT") {
						t.Error("QUIT after a failure")
					}
				}
			})
		}
	}
}

// What fn leaves unread is skipped, and what fn says ends the session.
func TestPOP3RetrCallback(t *testing.T) {
	t.Parallel()
	_, p, seen := dialScript(t, script(piped, "C RETR 1", "C RETR 2", "S +OK\r\nSubject: private\r\n\r\n"+strings.Repeat("line\r\n", 50_000)+".\r\n+OK\r\nb\r\n.\r\n", "C RETR 1", "S +OK\r\n.\r\n"))
	want := []POP3Message{{Num: 1, Size: 10}, {Num: 2, Size: 10}}
	var second string
	err := p.Retr(t.Context(), want, func(i int, body io.Reader, _ *Error) error {
		if i == 1 {
			b, err := io.ReadAll(body)
			second = string(b)
			return err
		}
		return nil
	})
	if err != nil || second != "b\r\n" {
		t.Fatalf("got %q, %v", second, err)
	}
	if s := seen.String(); strings.Contains(s, "private") || !strings.Contains(s, "S: [300023 octets]") {
		t.Errorf("transcript:\n%s", s)
	}
	own := errors.New("disk full")
	if err := p.Retr(t.Context(), want[:1], func(int, io.Reader, *Error) error { return own }); err != own {
		t.Errorf("got %v", err)
	}
	if _, _, err := p.Stat(t.Context()); reason(err) != "local session-ended" {
		t.Errorf("session goes on: %v", err)
	}
}

func TestPOP3RetrBroken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  string
		want string
		body error
	}{
		{name: "cut", end: "CUT", want: "network closed", body: io.ErrUnexpectedEOF},
		{name: "silent", end: "STALL", want: "network silent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, s := play(t, Cleartext, nil, script(opened, "C RETR 1", "S +OK\r\nhalf a mess", test.end))
			s.IdleTimeout = 200 * time.Millisecond
			p, err := DialPOP3(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			var inside error
			err = p.Retr(t.Context(), []POP3Message{{Num: 1, Size: 11}, {Num: 2}}, func(i int, body io.Reader, _ *Error) error {
				if i > 0 {
					t.Error("called again")
				}
				_, inside = io.ReadAll(body)
				return nil // even a caller that does not mind is told
			})
			if reason(err) != test.want {
				t.Errorf("got %v", err)
			}
			if test.body != nil && inside != test.body || test.body == nil && reason(inside) != test.want {
				t.Errorf("body: %v", inside)
			}
		})
	}
}

// The server does not read while its answers are not taken: commands must not
// wait for that.
func TestPOP3PipelineWindow(t *testing.T) {
	t.Parallel()
	var steps []any
	steps = append(steps, piped)
	for i := 1; i <= pipelineMessages; i++ {
		steps = append(steps, fmt.Sprintf("C RETR %d\r\n", i))
	}
	steps = append(steps, "S "+strings.Repeat("+OK\r\n"+strings.Repeat("x", 9000)+"\r\n.\r\n", pipelineMessages))
	for i := 1; i <= 10; i++ {
		steps = append(steps, fmt.Sprintf("C RETR %d\r\n", pipelineMessages+i))
	}
	steps = append(steps, "S "+strings.Repeat("+OK\r\n.\r\n", 10))
	_, p, _ := dialScript(t, script(steps...))
	want := make([]POP3Message, pipelineMessages+10)
	for i := range want {
		want[i] = POP3Message{Num: uint32(i + 1), Size: 9000}
	}
	n := 0
	if err := p.Retr(t.Context(), want, func(int, io.Reader, *Error) error { n++; return nil }); err != nil || n != len(want) {
		t.Errorf("%d messages, %v", n, err)
	}
}

func TestPOP3Cancel(t *testing.T) {
	t.Parallel()
	peer, p, _ := dialScript(t, script(piped, "C RETR 1", "S +OK\r\nhalf", "STALL"))
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Retr(ctx, []POP3Message{{Num: 1}}, func(_ int, body io.Reader, _ *Error) error {
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := io.ReadAll(body)
		return err
	})
	if err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if err := p.Quit(t.Context()); err != context.Canceled {
		t.Errorf("QUIT of a cancelled session: %v", err)
	}
	if slices.Contains(peer.heard(), "QUIT") {
		t.Error("QUIT was sent")
	}
}

func TestPOP3Quit(t *testing.T) {
	t.Parallel()
	peer, p, _ := dialScript(t, script(opened, "C QUIT", "S +OK bye\r\n"))
	if err := p.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Quit(t.Context()); reason(err) != "local session-ended" {
		t.Errorf("second QUIT: %v", err)
	}
	if n := len(slices.DeleteFunc(peer.heard(), func(s string) bool { return s != "QUIT" })); n != 1 {
		t.Errorf("%d QUITs", n)
	}
	if p.Expire() != 30 {
		t.Errorf("EXPIRE %d", p.Expire())
	}
}

func TestAPOPTimestamp(t *testing.T) {
	t.Parallel()
	for greeting, want := range map[string]string{
		"POP3 server ready <1896.697170952@dbc.mtview.ca.us>": "<1896.697170952@dbc.mtview.ca.us>",
		"<a@b> more": "<a@b>",
		"<nothing>":  "",
		"no":         "",
		"<open@end":  "",
	} {
		if got := apopTimestamp(greeting); got != want {
			t.Errorf("%q: got %q", greeting, got)
		}
	}
}

// The table can only turn a refusal into something milder.
func TestSentencesAreMilder(t *testing.T) {
	t.Parallel()
	for _, s := range sentences {
		if s.class != ClassBusy && s.class != ClassQuota {
			t.Errorf("%q: class %s", s.words, s.class)
		}
		if s.words != strings.ToLower(s.words) {
			t.Errorf("%q never matches", s.words)
		}
	}
}
