package session

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"
)

const (
	imapHello = "S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n"
	imapIn    = "S F1 OK [CAPABILITY IMAP4rev1 LIST-EXTENDED] in\r\n"
)

func plainCanary() string {
	return base64.StdEncoding.EncodeToString([]byte("\x00taro@example.jp\x00" + canary))
}

func TestDialIMAP(t *testing.T) {
	quoted := `"taro@example.jp" "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(canary) + `"`
	token := func(context.Context) (Secret, error) { return Secret{Token: canary}, nil }
	for _, test := range []struct {
		name   string
		secret func(context.Context) (Secret, error)
		script []string
		class  Class // "": the login succeeds
		reason string
		server string
		temp   bool
	}{
		{name: "AUTHENTICATE with SASL-IR", script: script(imapHello, "C F1 AUTHENTICATE PLAIN "+plainCanary(), imapIn)},
		{name: "AUTHENTICATE without SASL-IR", script: script("S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", "C F1 AUTHENTICATE PLAIN\r\n", "S + \r\n", "C "+plainCanary(), imapIn)},
		{name: "capabilities asked for", script: script("S * OK hi\r\n", "C F1 CAPABILITY", "S * CAPABILITY imap4rev1 \r\nF1 OK\r\n", "C F2 LOGIN "+quoted, "S F2 OK in\r\n", "C F3 CAPABILITY", "S * CAPABILITY IMAP4rev1\r\nF3 OK\r\n")},
		{name: "untagged capabilities at login", script: script("S * OK [CAPABILITY IMAP4rev1]\r\n", "C F1 LOGIN "+quoted, "S * CAPABILITY IMAP4rev1 IDLE\r\nF1 OK in\r\n")},
		{name: "LOGINDISABLED with AUTH=LOGIN", script: script("S * OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=LOGIN] hi\r\n", "C F1 AUTHENTICATE LOGIN\r\n", "S + VXNlcm5hbWU6\r\n", "C dGFyb0BleGFtcGxlLmpw", "S + UGFzc3dvcmQ6\r\n", "C "+base64.StdEncoding.EncodeToString([]byte(canary)), imapIn)},
		{name: "PREAUTH", script: script("S * PREAUTH [CAPABILITY IMAP4rev1] come in\r\n")},
		{name: "ID is not waited for", script: script(imapHello, "C F1 AUTH", "S F1 OK [CAPABILITY IMAP4rev1 ID] in\r\n", "C F2 ID (")},
		{name: "8-bit password", secret: func(context.Context) (Secret, error) { return Secret{Password: "pässwört"}, nil },
			script: script("S * OK [CAPABILITY IMAP4rev1]\r\n", "C F1 LOGIN \"taro@example.jp\" {10}\r\n", "S + go on\r\n", "C pässwört\r\n", imapIn)},
		{name: "XOAUTH2", secret: token, script: script("S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2 AUTH=OAUTHBEARER] hi\r\n",
			"C F1 AUTHENTICATE XOAUTH2 "+base64.StdEncoding.EncodeToString([]byte("user=taro@example.jp\x01auth=Bearer "+canary+"\x01\x01")), imapIn)},
		{name: "XOAUTH2 refused", secret: token, script: script("S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] hi\r\n", "C F1 AUTHENTICATE XOAUTH2 ", "S + eyJzdGF0dXMiOiI0MDAifQ==\r\n", "C \r\n", "S F1 NO invalid\r\n"),
			class: ClassAuth, reason: "login-refused", server: `invalid {"status":"400"}`},
		{name: "token without a mechanism", secret: token, script: script(imapHello), class: ClassPolicy, reason: "token-not-offered"},

		{name: "refused", script: script(imapHello, "C F1 AUTH", "S F1 NO [AUTHENTICATIONFAILED] wrong\r\n"), class: ClassAuth, reason: "login-refused", server: "[AUTHENTICATIONFAILED] wrong"},
		{name: "refused without a code", script: script(imapHello, "C F1 AUTH", "S F1 NO wrong\r\n"), class: ClassAuth, reason: "login-refused", server: "wrong"},
		{name: "refused with BAD", script: script(imapHello, "C F1 AUTH", "S F1 BAD wrong\r\n"), class: ClassAuth, reason: "login-refused", server: "wrong"},
		{name: "expired", script: script(imapHello, "C F1 AUTH", "S F1 NO [EXPIRED] old\r\n"), class: ClassAuth, reason: "login-expired", server: "[EXPIRED] old"},
		{name: "unavailable", script: script(imapHello, "C F1 AUTH", "S F1 NO [unavailable] later\r\n"), class: ClassBusy, reason: "unavailable", server: "[UNAVAILABLE] later", temp: true},
		{name: "in use", script: script(imapHello, "C F1 AUTH", "S F1 NO [INUSE] locked\r\n"), class: ClassBusy, reason: "in-use", server: "[INUSE] locked", temp: true},
		{name: "limit in words", script: script(imapHello, "C F1 AUTH", "S F1 NO [ALERT] Too many simultaneous connections. (Failure)\r\n"), class: ClassBusy, reason: "too-many-sessions", server: "[ALERT] Too many simultaneous connections. (Failure)", temp: true},
		{name: "privacy required", script: script(imapHello, "C F1 AUTH", "S F1 NO [PRIVACYREQUIRED] TLS\r\n"), class: ClassPolicy, reason: "privacy-required", server: "[PRIVACYREQUIRED] TLS"},
		{name: "BYE at login", script: script(imapHello, "C F1 AUTH", "S * BYE too busy\r\n", "CUT"), class: ClassBusy, reason: "bye", server: "too busy", temp: true},
		{name: "cut at login", script: script(imapHello, "C F1 AUTH", "CUT"), class: ClassNetwork, reason: "closed", temp: true},
		{name: "LOGINDISABLED", script: script("S * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n"), class: ClassPolicy, reason: "login-disabled"},
		{name: "garbage at login", script: script(imapHello, "C F1 AUTH", "S what?\r\n"), class: ClassProtocol, reason: "response-garbage"},
		{name: "talk without end", script: script(imapHello, "C F1 AUTH", "S "+strings.Repeat("* OK x\r\n", imapLoginTalk)), class: ClassProtocol, reason: "response-flood"},
		{name: "no capabilities", script: script("S * OK hi\r\n", "C F1 CAPABILITY", "S F1 OK\r\n"), class: ClassProtocol, reason: "capability-missing"},

		{name: "greeting BYE", script: script("S * BYE [UNAVAILABLE] down\r\n"), class: ClassBusy, reason: "unavailable", server: "[UNAVAILABLE] down", temp: true},
		{name: "greeting BYE without a code", script: script("S * BYE go away\r\n"), class: ClassBusy, reason: "greeting-bye", server: "go away", temp: true},
		{name: "greeting of POP3", script: script("S +OK ready\r\n"), class: ClassProtocol, reason: "greeting-pop3-on-imap", server: "+OK ready"},
		{name: "greeting of SMTP", script: script("S 220 mx ESMTP\r\n"), class: ClassProtocol, reason: "greeting-smtp", server: "220 mx ESMTP"},
		{name: "greeting of HTTP", script: script("S HTTP/1.1 400 Bad Request\r\n"), class: ClassProtocol, reason: "greeting-http", server: "HTTP/1.1 400 Bad Request"},
		{name: "greeting unknown", script: script("S SSH-2.0-OpenSSH\r\n"), class: ClassProtocol, reason: "greeting-unknown", server: "SSH-2.0-OpenSSH"},
		{name: "greeting too long", script: script("S " + strings.Repeat("x", 70<<10) + "\r\n"), class: ClassProtocol, reason: "line-too-long"},
		{name: "no greeting", script: script("STALL"), class: ClassNetwork, reason: "silent", temp: true},

		{name: "secret with a line end", secret: func(context.Context) (Secret, error) { return Secret{Password: "a\r\nF2 DELETE INBOX"}, nil },
			script: script(imapHello), class: ClassAuth, reason: "credential-control-character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, s := play(t, Cleartext, nil, test.script)
			s.IdleTimeout = time.Second
			if test.secret != nil {
				s.Secret = test.secret
			}
			seen := watchSecrets(t, &s, canary)
			m, err := DialIMAP(context.Background(), s)
			showError(seen, err)
			if test.class == "" {
				if err != nil {
					t.Fatal(err)
				}
				m.Drop()
				m.Wait()
				return
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want an *Error; peer heard %q", err, p.heard())
			}
			if e.Class != test.class || e.Reason != test.reason || e.Server != test.server || e.Temporary != test.temp || e.Reach != ReachAccount {
				t.Errorf("error %+v, want class %q, reason %q, server %q, temporary %v", e, test.class, test.reason, test.server, test.temp)
			}
		})
	}
}

func reasonOnly(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return reason(err)
}

func TestIMAPSTARTTLS(t *testing.T) {
	cert := goodCert(t)
	offer := "S * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] hi\r\n"
	for _, test := range []struct {
		name   string
		script []string
		reason string // "": success
	}{
		{"good", script(offer, "C F1 STARTTLS", "S F1 OK go\r\n", "TLS", "C F2 CAPABILITY", "S * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nF2 OK\r\n", "C F3 AUTHENTICATE PLAIN", "S F3 OK [CAPABILITY IMAP4rev1] in\r\n"), ""},
		{"not offered", script("S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"), "starttls-missing"},
		{"refused", script(offer, "C F1 STARTTLS", "S F1 NO not now\r\n"), "starttls-refused"},
		{"PREAUTH", script("S * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] in\r\n"), "starttls-preauth"},
		{"injected", script(offer, "C F1 STARTTLS", "S F1 OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nF2 OK\r\n"), "starttls-injection"},
		{"injected before", script(offer, "C F1 STARTTLS", "S * CAPABILITY IMAP4rev1\r\nF1 OK go\r\n", "TLS", "C F2 CAPABILITY", "S * CAPABILITY IMAP4rev1 LOGINDISABLED\r\nF2 OK\r\n"), "login-disabled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, s := play(t, STARTTLS, cert, test.script)
			m, err := DialIMAP(context.Background(), s)
			if err == nil {
				m.Drop()
				m.Wait()
			}
			if got := reasonOnly(err); got != test.reason {
				t.Errorf("reason %q (%v), want %q", got, err, test.reason)
			}
			for _, line := range p.heard() {
				if test.reason != "" && (strings.Contains(line, "LOGIN") || strings.Contains(line, "AUTHENTICATE")) {
					t.Errorf("the peer heard %q", line)
				}
			}
		})
	}
}

func TestIMAPWithoutSecret(t *testing.T) {
	asked := false
	_, s := play(t, Cleartext, nil, script("S +OK\r\n"))
	s.Secret = func(context.Context) (Secret, error) { asked = true; return Secret{}, nil }
	if _, err := DialIMAP(context.Background(), s); err == nil || asked {
		t.Errorf("error %v, asked for the secret: %v", err, asked)
	}
}

func TestIMAPLibraryCapabilities(t *testing.T) {
	l := &imapLogin{}
	l.offered([]byte("imap4rev2 AUTH=PLAIN X-GM-EXT-1 b]d "))
	got := libraryCapabilities(l.caps)
	want := "ENABLE ESEARCH IDLE IMAP4rev1 LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE STATUS=SIZE UIDPLUS UNSELECT X-GM-EXT-1"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestIMAPCommands runs commands through the library, and errors back.
func TestIMAPCommands(t *testing.T) {
	in := script(imapHello, "C F1 AUTH", "S F1 OK [CAPABILITY IMAP4rev1 ID X-GM-EXT-1] in\r\n", "C F2 ID")
	for _, test := range []struct {
		name   string
		script []string
		reason string
		class  Class
		reach  Reach
	}{
		{"good", script("S * ID NIL\r\nF2 OK\r\n", "C T1 NOOP", "S T1 OK\r\n"), "", "", 0},
		{"good, ID answered late", script("C T1 NOOP", "S F2 NO what?\r\nT1 OK\r\n"), "", "", 0},
		{"refused", script("C T1 NOOP", "S T1 NO nope\r\n"), "command-refused", ClassRefused, ReachMailbox},
		{"missing", script("C T1 NOOP", "S T1 NO [NONEXISTENT] nope\r\n"), "nonexistent", ClassMissing, ReachMailbox},
		{"throttled", script("C T1 NOOP", "S T1 NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\r\n"), "throttled", ClassBusy, ReachAccount},
		{"BYE", script("C T1 NOOP", "S * BYE Autologout\r\n", "CUT"), "bye", ClassBusy, ReachAccount},
		{"cut", script("C T1 NOOP", "CUT"), "closed", ClassNetwork, ReachAccount},
		{"garbage", script("C T1 NOOP", "S !\r\n"), "response-garbage", ClassProtocol, ReachAccount},
		{"silent", script("C T1 NOOP", "STALL"), "silent", ClassNetwork, ReachAccount},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, s := play(t, Cleartext, nil, script(in, test.script))
			s.IdleTimeout = time.Second
			m, err := DialIMAP(context.Background(), s)
			if err != nil {
				t.Fatal(err)
			}
			err = m.Err(m.Client.Noop().Wait())
			if got := reasonOnly(err); got != test.reason {
				t.Fatalf("reason %q (%v), want %q", got, err, test.reason)
			}
			var e *Error
			if errors.As(err, &e) && (e.Class != test.class || e.Reach != test.reach) {
				t.Errorf("class %q, reach %v; want %q, %v", e.Class, e.Reach, test.class, test.reach)
			}
			m.Drop()
			m.Wait()
		})
	}
}

// TestIMAPIdles proves that silence between commands is no failure.
func TestIMAPIdles(t *testing.T) {
	_, s := play(t, Cleartext, nil, script(imapHello, "C F1 AUTH", "S F1 OK [CAPABILITY IMAP4rev1 ID] in\r\n", "C F2 ID", "S F2 OK\r\n", "C T1 NOOP", "S T1 OK\r\n", "C T2 NOOP", "S T2 OK\r\n", "C T3 LOGOUT", "S * BYE\r\nT3 OK\r\n"))
	s.IdleTimeout = 100 * time.Millisecond
	m, err := DialIMAP(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		if err := m.Err(m.Client.Noop().Wait()); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestIMAPWatch(t *testing.T) {
	_, s := play(t, Cleartext, nil, script(imapHello, "C F1 AUTH", imapIn, "C T1 NOOP", "STALL"))
	m, err := DialIMAP(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer m.Watch(ctx)()
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := m.Err(m.Client.Noop().Wait()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	m.Wait()
}

func TestIMAPExtra(t *testing.T) {
	_, s := play(t, Cleartext, nil, script(imapHello, "C F1 AUTH", imapIn,
		"C T1 UID FETCH 1:* (UID RFC822.SIZE X-GM-MSGID)", "S * 1 FETCH (X-GM-MSGID 77 UID 5 RFC822.SIZE 3)\r\nT1 OK\r\n"))
	m, err := DialIMAP(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	m.AskAlso("X-GM-MSGID")
	msgs, err := m.Client.Fetch(imap.UIDSet{imap.UIDRange{Start: 1}}, &imap.FetchOptions{RFC822Size: true}).Collect()
	if err != nil || len(msgs) != 1 {
		t.Fatal(msgs, err)
	}
	got := []string{m.TakeExtra(5), m.TakeExtra(5), m.TakeExtra(6)}
	if diff := cmp.Diff([]string{"77", "", ""}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	m.Drop()
	m.Wait()
}

func TestIMAPAlert(t *testing.T) {
	_, s := play(t, Cleartext, nil, script("S * OK [CAPABILITY IMAP4rev1] hi\r\n", "C F1 LOGIN", "S * NO [ALERT] disk full\r\nF1 OK [CAPABILITY IMAP4rev1] in\r\n"))
	m, err := DialIMAP(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.ServerText(); got != "disk full" {
		t.Errorf("ServerText = %q", got)
	}
	m.Drop()
	m.Wait()
}
