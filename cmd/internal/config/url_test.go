package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURL(t *testing.T) {
	for _, tc := range []struct {
		url  string
		want Account
	}{
		{"imaps://taro@example.jp@imap.example.jp:993", Account{Name: "taro@example.jp", Protocol: "imap", Host: "imap.example.jp", Port: 993, Security: "tls", User: "taro@example.jp"}},
		{"IMAPS://taro@imap.example.jp/", Account{Name: "taro@imap.example.jp", Protocol: "imap", Host: "imap.example.jp", Port: 993, Security: "tls", User: "taro"}},
		{"imap://taro@imap.example.jp", Account{Name: "taro@imap.example.jp", Protocol: "imap", Host: "imap.example.jp", Port: 143, Security: "starttls", User: "taro"}},
		{"pop3s://taro@pop.example.jp:1995", Account{Name: "taro@pop.example.jp-pop3", Protocol: "pop3", Host: "pop.example.jp", Port: 1995, Security: "tls", User: "taro"}},
		{"pop3://t@127.0.0.1:1110", Account{Name: "t@127.0.0.1-pop3", Protocol: "pop3", Host: "127.0.0.1", Port: 1110, Security: "cleartext", User: "t"}},
		{"imap://t@localhost:1143", Account{Name: "t@localhost", Protocol: "imap", Host: "localhost", Port: 1143, Security: "cleartext", User: "t"}},
		{"imap://t@[::1]:1143", Account{Name: "t@__1.cef572a", Protocol: "imap", Host: "::1", Port: 1143, Security: "cleartext", User: "t"}},
		{"imaps://dom%2Fa%3Ab%40c@h.jp", Account{Name: "dom_a_b@c.a683ca46", Protocol: "imap", Host: "h.jp", Port: 993, Security: "tls", User: "dom/a:b@c"}},
	} {
		tc.want.Pull = true
		got, err := ParseURL(tc.url)
		if err != nil {
			t.Errorf("%s: %v", tc.url, err)
		} else if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.url, diff)
		}
	}
}

var urlErrors = []struct {
	url  string
	code string
	args m
}{
	{"imaps://taro:hunter2@imap.example.jp", CodePasswordInURL, m{"scheme": "imaps"}},
	{"imaps://taro:hunter2@", CodePasswordInURL, nil},
	{"imaps://taro:hun/ter@hunter2@h.jp/", CodePasswordInURL, nil},
	{"imaps://taro:hunter2", CodeURLUserMissing, m{"scheme": "imaps"}},
	{"imaps://@h.jp", CodeURLUserMissing, nil},
	{"imaps://imap.example.jp", CodeURLUserMissing, nil},
	{"taro:hunter2@imap.example.jp", CodeURLMalformed, nil},
	{"hunter 2://a@b", CodeURLMalformed, nil},
	{"imaps://t%zz@h.jp", CodeURLMalformed, nil},
	{"imaps://t%ff@h.jp", CodeURLMalformed, nil},
	{"", CodeURLMalformed, nil},
	{"https://taro:hunter2@h.jp", CodeURLScheme, m{"scheme": "https"}},
	{"imaps://taro@h.jp/INBOX", CodeURLPath, nil},
	{"imaps://taro@h.jp?x=hunter2", CodeURLPath, nil},
	{"imaps://taro@h.jp#x", CodeURLPath, nil},
	{"imaps://taro@h.jp:hunter2", CodeURLPort, nil},
	{"imaps://taro@h.jp:0", CodeURLPort, nil},
	{"imaps://taro@h.jp:995", CodePortOfOtherProtocol, m{"other": "pop3", "want": 993}},
	{"imap://taro@h.jp:993", CodePortSecurityMismatch, m{"want_security": "tls"}},
	{"imaps://taro@ｈ.jp", CodeHostFullWidth, m{"suggestion": "h.jp"}},
	{"imaps://taro%0d%0aQUIT@h.jp", CodeUserControl, nil},
	{"imaps://taro@", CodeKeyMissing, m{"key": "host"}},
}

func TestParseURLErrors(t *testing.T) {
	for _, tc := range urlErrors {
		t.Run(tc.url, func(t *testing.T) {
			a, err := ParseURL(tc.url)
			e := demand(t, err, tc.code, tc.args)
			if s := fmt.Sprintf("%+v %#v", a, e.Args); tc.code == CodePasswordInURL && strings.Contains(s, "hun") {
				t.Errorf("the password is in %s", s)
			}
		})
	}
}

func FuzzParseURL(f *testing.F) {
	for _, tc := range urlErrors {
		f.Add(tc.url)
	}
	f.Add("imap://t@[::1]:1143")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseURL(s)
		if err == nil {
			if !accountName.MatchString(a.Name) || a.Port == 0 || strings.ContainsAny(a.User, "\r\n\x00") || !isHostNameOrIP(a.Host) {
				t.Fatalf("%q: %+v", s, a)
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
	})
}

func isHostNameOrIP(s string) bool { _, f := checkHost("a", s); return f == nil }
