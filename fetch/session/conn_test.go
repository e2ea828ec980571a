package session

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return string(e.Class) + " " + e.Reason
	}
	if err == nil {
		return ""
	}
	return "not classified: " + err.Error()
}

func TestDialTLS(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := goodCert(t)
	for _, test := range []struct {
		name   string
		cert   *testCert
		roots  *x509.CertPool // nil: that of cert
		script []string
		want   string
	}{
		{name: "good", cert: good, script: script("TLS", "S +OK\r\n")},
		{name: "expired", cert: newCert(t, now.Add(-2*time.Hour), now.Add(-time.Hour), "127.0.0.1"), script: script("TLS"), want: "tls cert-expired"},
		{name: "not yet valid", cert: newCert(t, now.Add(time.Hour), now.Add(2*time.Hour), "127.0.0.1"), script: script("TLS"), want: "tls cert-not-yet-valid"},
		{name: "other host", cert: newCert(t, now.Add(-time.Hour), now.Add(time.Hour), "mail.example.jp"), script: script("TLS"), want: "tls cert-wrong-host"},
		{name: "unknown authority", cert: good, roots: goodCert(t).pool, script: script("TLS"), want: "tls cert-unknown-authority"},
		{name: "plain text", cert: good, script: script("S +OK hello\r\n"), want: "tls not-tls"},
		{name: "closed", cert: good, script: script("CUT"), want: "network closed"},
		{name: "silent", cert: good, script: script("STALL"), want: "network timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, s := play(t, TLS, test.cert, test.script)
			if test.roots != nil {
				s.RootCAs = test.roots
			}
			if test.name == "silent" {
				s.DialTimeout = 100 * time.Millisecond
			}
			var traced error
			s.Trace = &Trace{TLSDone: func(_ tls.ConnectionState, err error) { traced = err }}
			c, err := dial(t.Context(), s)
			// The peer may have been quicker to reset than to close.
			if got := reason(err); got != test.want && !(test.name == "closed" && got == "network reset") {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			if (traced == nil) != (test.want == "") {
				t.Errorf("trace saw %v", traced)
			}
			if c != nil {
				if line, err := c.readLine(100); err != nil || string(line) != "+OK\r\n" {
					t.Errorf("got %q, %v", line, err)
				}
				c.Close()
			}
		})
	}
}

func TestDialFailures(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	if _, err := dial(t.Context(), Server{Host: "127.0.0.1", Port: port, Security: Cleartext}); reason(err) != "network refused" {
		t.Errorf("closed port: %v", err)
	}
	if _, err := dial(t.Context(), Server{Host: "127.0.0.1", Port: port}); reason(err) != "local security-unknown" {
		t.Errorf("no security: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dial(ctx, Server{Host: "127.0.0.1", Port: port, Security: Cleartext}); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	for _, test := range []struct {
		err       error
		want      string
		temporary bool
	}{
		{&net.DNSError{IsNotFound: true}, "name dns-not-found", false},
		{&net.DNSError{IsTimeout: true}, "name dns-failed", true},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, "name dns-not-found", false},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "network timeout", true},
		{&net.OpError{Op: "dial", Err: errors.New("no route")}, "network unreachable", true},
		{&net.OpError{Op: "dial", Err: errnoReset[0]}, "network reset", true},
	} {
		if got := dialError(test.err); reason(got) != test.want || got.Temporary != test.temporary {
			t.Errorf("%v: got %q, temporary %v", test.err, reason(got), got.Temporary)
		}
	}
}

// A name with several addresses is reached by the first that answers.
func TestTakeTurns(t *testing.T) {
	t.Parallel()
	ip := func(s string) net.IPAddr { return net.IPAddr{IP: net.ParseIP(s)} }
	got := takeTurns([]net.IPAddr{ip("2001:db8::1"), ip("2001:db8::2"), ip("2001:db8::3"), ip("192.0.2.1")})
	var list []string
	for _, a := range got {
		list = append(list, a.String())
	}
	if s := strings.Join(list, " "); s != "2001:db8::1 192.0.2.1 2001:db8::2 2001:db8::3" {
		t.Errorf("got %s", s)
	}
}

func TestConnIdle(t *testing.T) {
	t.Parallel()
	_, s := play(t, Cleartext, nil, script("S one\r\n", "C go", "S tw", "STALL"))
	s.IdleTimeout = 150 * time.Millisecond
	c, err := dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	if _, err := c.readLine(100); err != nil {
		t.Fatal(err)
	}
	// Nothing is owed: a read that waits for longer than IdleTimeout goes on …
	c.owe(false)
	type result struct {
		line string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := c.readLine(100)
		got <- result{string(line), err}
	}()
	select {
	case r := <-got:
		t.Fatalf("read ended without anything owed: %v", r)
	case <-time.After(400 * time.Millisecond):
	}
	// … and gets its deadline, already waiting, when something is written.
	c.SetDeadline(time.Now().Add(-time.Hour))
	if _, err := io.WriteString(c, "go\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-got:
		if reason(r.err) != "network silent" {
			t.Errorf("got %q, %v", r.line, r.err)
		}
	case <-time.After(3 * time.Second):
		t.Fatal("no idle timeout")
	}
	if err := c.err(); reason(err) != "network silent" {
		t.Errorf("remembered %v", err)
	}
}

func TestConnEndsWithContext(t *testing.T) {
	t.Parallel()
	for _, test := range []string{"dial context", "operation context"} {
		t.Run(test, func(t *testing.T) {
			t.Parallel()
			_, s := play(t, Cleartext, nil, script("STALL"))
			ctx, cancel := context.WithCancel(t.Context())
			dialCtx := ctx
			if test != "dial context" {
				dialCtx = t.Context()
			}
			c, err := dial(dialCtx, s)
			if err != nil {
				t.Fatal(err)
			}
			if test != "dial context" {
				defer c.watch(ctx)()
			}
			time.AfterFunc(50*time.Millisecond, cancel)
			if _, err := c.readLine(100); err != context.Canceled {
				t.Errorf("read: %v", err)
			}
			if _, err := c.Write([]byte("x")); err != context.Canceled {
				t.Errorf("write: %v", err)
			}
			if err := c.err(); err != context.Canceled {
				t.Errorf("remembered %v", err)
			}
			c.Close()
			c.Close()
		})
	}
}

func TestConnLines(t *testing.T) {
	t.Parallel()
	_, s := play(t, Cleartext, nil, script("S short\r\n"+strings.Repeat("x", 200)+"\r\n"+"rest", "CUT"))
	c, err := dial(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.drop()
	if line, err := c.readLine(100); string(line) != "short\r\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}
	if _, err := c.readLine(100); reason(err) != "protocol line-too-long" {
		t.Errorf("long line: %v", err)
	}
	if _, err := c.readLine(100); reason(err) != "network closed" {
		t.Errorf("line without an end: %v", err)
	}
}

// syncBuffer is a buffer that two goroutines may use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long line ", 300)
	for _, test := range []struct {
		name     string
		literals bool
		say      func(tr *transcript)
		want     string
	}{
		{
			name: "lines in pieces",
			say: func(tr *transcript) {
				tr.octets(fromServer, []byte("+O"))
				tr.octets(fromServer, []byte("K\r\n+OK 2\r"))
				tr.octets(fromServer, []byte("\n"))
				tr.octets(fromClient, []byte("QUIT\r\n"))
			},
			want: "S: +OK\nS: +OK 2\nC: QUIT\n",
		},
		{
			name: "secrets",
			say: func(tr *transcript) {
				tr.octets(fromClient, []byte("PASS "+canary+"\r\n"))
				tr.octets(fromClient, []byte(`a LOGIN "taro" "`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(canary)+"\"\r\n"))
				tr.octets(fromClient, []byte(base64.StdEncoding.EncodeToString([]byte(canary))+"\r\n"))
			},
			want: "C: PASS ***\nC: a LOGIN \"taro\" \"***\"\nC: ***\n",
		},
		{
			name:     "literals",
			literals: true,
			say: func(tr *transcript) {
				tr.octets(fromServer, []byte("* 1 FETCH (BODY[] {300}\r\n"+strings.Repeat("m", 298)+"\r\n)\r\n"))
				tr.octets(fromClient, []byte("a APPEND x {5+}\r\nsmall\r\nb NOOP\r\n"))
			},
			want: "S: * 1 FETCH (BODY[] {300}\nS: [300 octets]\nS: )\nC: a APPEND x {5+}\nC: small\nC: b NOOP\n",
		},
		{
			name: "body",
			say: func(tr *transcript) {
				tr.octets(fromServer, []byte("+OK\r\n"))
				tr.body(fromServer, 4711)
				tr.octets(fromServer, []byte("+OK\r\n"))
			},
			want: "S: +OK\nS: [4711 octets]\nS: +OK\n",
		},
		{
			name: "long line",
			say:  func(tr *transcript) { tr.octets(fromServer, []byte(long+"\r\n")) },
			want: "S: " + long[:transcriptLine] + " [3002 octets]\n",
		},
		{
			name: "unfinished line",
			say:  func(tr *transcript) { tr.octets(fromServer, []byte("+OK")) },
			want: "S: +OK\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			m := new(masks)
			m.add(canary)
			tr := &transcript{w: &b, m: m, literals: test.literals}
			test.say(tr)
			tr.flush()
			if b.String() != test.want {
				t.Errorf("got  %q\nwant %q", b.String(), test.want)
			}
		})
	}
}

// A long list is cut short, and says so.
func TestTranscriptBurst(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	tr := &transcript{w: &b, m: new(masks)}
	for range 100_000 {
		tr.octets(fromServer, []byte("1 uid-of-a-message\r\n"))
	}
	tr.octets(fromClient, []byte("NOOP\r\n"))
	if b.Len() > 2*transcriptBurst {
		t.Errorf("%d octets", b.Len())
	}
	if !strings.Contains(b.String(), " octets]\nC: NOOP\n") {
		t.Errorf("ends %q", b.String()[b.Len()-100:])
	}
}

// Whatever a SASL mechanism wraps around a secret, its base64 shows no part of
// it that would help.
func TestMaskAlignments(t *testing.T) {
	t.Parallel()
	m := new(masks)
	m.add(canary)
	for pad := range 7 {
		for tail := range 4 {
			enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", pad) + canary + strings.Repeat("v", tail)))
			got := m.apply(enc)
			if !strings.Contains(got, masked) || len(strings.ReplaceAll(got, masked, "")) > len(enc)-len(canary) {
				t.Errorf("pad %d, tail %d: %s became %s", pad, tail, enc, got)
			}
		}
	}
}
