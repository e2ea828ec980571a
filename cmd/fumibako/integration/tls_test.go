//go:build integration

package integration

import (
	"bytes"
	"testing"
)

// TestTLS pulls over implicit TLS, STARTTLS and STLS, and demands that neither
// a foreign certificate nor a server without STARTTLS gets a password.
func TestTLS(t *testing.T) {
	const n = 30
	d := startDovecot(t, dovecotOptions{})
	other := startDovecot(t, dovecotOptions{certNames: []string{"mail.example.org"}})
	bare := startDovecot(t, dovecotOptions{noSSL: true})
	for _, server := range []*dovecot{d, other, bare} {
		fill(t, server.maildir("taro"), mailOptions{n: n, seed: 30})
	}
	cases := []struct {
		name     string
		protocol string
		security string
		server   *dovecot
		port     int
		trusted  bool
		code     int // 0: all is held
		class    string
	}{
		{"imaps", "imap", "tls", d, d.imaps, true, 0, ""},
		{"imap-starttls", "imap", "starttls", d, d.imap, true, 0, ""},
		{"pop3s", "pop3", "tls", d, d.pop3s, true, 0, ""},
		{"pop3-stls", "pop3", "starttls", d, d.pop3, true, 0, ""},
		{"imaps-other-name", "imap", "tls", other, other.imaps, true, 4, "tls"},
		{"imap-starttls-other-name", "imap", "starttls", other, other.imap, true, 4, "tls"},
		{"pop3s-other-name", "pop3", "tls", other, other.pop3s, true, 4, "tls"},
		{"pop3-stls-other-name", "pop3", "starttls", other, other.pop3, true, 4, "tls"},
		{"imaps-unknown-authority", "imap", "tls", d, d.imaps, false, 4, "tls"},
		{"pop3-stls-unknown-authority", "pop3", "starttls", d, d.pop3, false, 4, "tls"},
		{"imap-starttls-missing", "imap", "starttls", bare, bare.imap, true, -1, "policy"},
		{"pop3-stls-missing", "pop3", "starttls", bare, bare.pop3, true, -1, "policy"},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			p := startProxy(t, local(k.port))
			c := newClient(t, "maildir", account{protocol: k.protocol, host: "localhost", port: p.port, security: k.security})
			if k.trusted {
				c.env = append(c.env, "SSL_CERT_FILE="+k.server.caFile)
			}
			if k.code == 0 {
				c.pull(n)
				demandExact(t, c, readServer(t, k.server, k.protocol, "taro"))
			} else {
				o := c.start("pull", "--json").wait()
				if o.code != k.code && (k.code != -1 || o.code == 0) {
					t.Fatalf("want exit code %d: %s", k.code, o)
				}
				r := o.report(t)
				if len(r.Accounts) != 1 || r.Accounts[0].Class != k.class || r.Accounts[0].Error == "" {
					t.Errorf("want class %q: %s", k.class, o)
				}
			}
			for _, secret := range []string{password, "LOGIN", "AUTH", "USER taro", "dGFyb"} {
				if bytes.Contains(p.heard(), []byte(secret)) {
					t.Errorf("%q was sent in clear", secret)
				}
			}
		})
	}
}

// TestWrongPassword demands exit code 4, and that the next run without a person
// at the keyboard leaves the account alone: servers lock accounts.
func TestWrongPassword(t *testing.T) {
	const n = 10
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("taro"), mailOptions{n: n, seed: 31})
	for _, protocol := range []string{"imap", "pop3"} {
		t.Run(protocol, func(t *testing.T) {
			p := startProxy(t, d.address(protocol))
			c := newClient(t, "maildir", account{protocol: protocol, port: p.port})
			right := c.env
			c.env = append(append([]string(nil), right...), "FUMIBAKO_TEST_PASSWORD=wr0ngsecret")
			for range 2 {
				o := c.run(4, "pull", "--json")
				if r := o.report(t); len(r.Accounts) != 1 || r.Accounts[0].Class != "auth" {
					t.Errorf("want class auth: %s", o)
				}
				if bytes.Contains(append(o.stdout.Bytes(), o.stderr.Bytes()...), []byte("wr0ngsecret")) {
					t.Errorf("the password is printed: %s", o)
				}
			}
			if tries := bytes.Count(p.heard(), []byte("\r\nPASS ")) + bytes.Count(p.heard(), []byte("AUTH")) + bytes.Count(p.heard(), []byte("LOGIN ")); tries > 1 {
				t.Errorf("the refused password was sent %d times", tries)
			}
			c.env = right
			c.pull(n)
		})
	}
}

// TestWrongServer demands a quick end and a named class where something else,
// or nothing, answers.
func TestWrongServer(t *testing.T) {
	d := startDovecot(t, dovecotOptions{})
	cases := []struct {
		name  string
		a     account
		class string
	}{
		{"pop3-on-imap", account{protocol: "imap", port: d.pop3}, "protocol"},
		{"imap-on-pop3", account{protocol: "pop3", port: d.imap}, "protocol"},
		{"nobody", account{protocol: "imap", port: freePorts(t, 1)[0]}, "network"},
		{"no-such-host", account{protocol: "imap", host: "no-such-host.invalid", security: "tls", port: 993}, "name"},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			c := newClient(t, "maildir", k.a)
			o := c.start("pull", "--json").wait()
			if o.code == 0 || o.code == 3 || o.code == 130 {
				t.Errorf("exit code %d: %s", o.code, o)
			}
			if r := o.report(t); len(r.Accounts) != 1 || r.Accounts[0].Class != k.class {
				t.Errorf("want class %q: %s", k.class, o)
			}
			if o.took.Seconds() > 60 {
				t.Errorf("took %s", o.took)
			}
		})
	}
}
