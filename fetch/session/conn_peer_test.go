package session

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A peer is a server on loopback that plays scripts, one for each connection:
//
//	S text     send text as it is
//	C prefix   read a line that begins so
//	TLS        shake hands
//	CUT        close, reset if anything is unread
//	STALL      say nothing more until the client is gone
//
// Behind the last step it stalls.
type peer struct {
	t       *testing.T
	cert    tls.Certificate
	scripts [][]string

	mu    sync.Mutex
	lines []string // what clients said
	conns int
}

// play starts a peer and returns how to reach it with security.
func play(t *testing.T, security Security, cert *testCert, scripts ...[]string) (*peer, Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, scripts: scripts}
	s := Server{
		Host:        "127.0.0.1",
		Port:        ln.Addr().(*net.TCPAddr).Port,
		Security:    security,
		User:        "taro@example.jp",
		Secret:      func(context.Context) (Secret, error) { return Secret{Password: canary}, nil },
		DialTimeout: 5 * time.Second,
		IdleTimeout: 5 * time.Second,
	}
	if cert != nil {
		p.cert, s.RootCAs = cert.Certificate, cert.pool
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns++
			p.mu.Unlock()
			if n >= len(scripts) {
				nc.Close()
				continue
			}
			wg.Go(func() { p.run(nc, scripts[n]) })
		}
	})
	return p, s
}

func (p *peer) run(nc net.Conn, script []string) {
	defer func() { nc.Close() }()
	br := bufio.NewReader(nc)
	for _, step := range script {
		// A dead client must not keep the test waiting.
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		verb, text, _ := strings.Cut(step, " ")
		switch verb {
		case "S":
			if _, err := io.WriteString(nc, text); err != nil {
				return
			}
		case "C":
			line, err := br.ReadString('\n')
			if err != nil {
				p.t.Errorf("peer waits for %q: %v", text, err)
				return
			}
			p.mu.Lock()
			p.lines = append(p.lines, strings.TrimRight(line, "\r\n"))
			p.mu.Unlock()
			if !strings.HasPrefix(line, text) {
				p.t.Errorf("peer waits for %q: got %q", text, line)
				return
			}
		case "TLS":
			c := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{p.cert}})
			if err := c.Handshake(); err != nil {
				return
			}
			nc, br = c, bufio.NewReader(c)
		case "CUT":
			return
		case "STALL":
			io.Copy(io.Discard, br)
			return
		default:
			p.t.Errorf("peer: no such step %q", step)
		}
	}
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.Copy(&said{p}, br)
}

// said keeps what a client says behind the script.
type said struct{ p *peer }

func (s *said) Write(b []byte) (int, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		s.p.lines = append(s.p.lines, strings.TrimRight(line, "\r\n"))
	}
	return len(b), nil
}

// heard returns what clients said so far.
func (p *peer) heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.lines...)
}

// canary is the secret of every test: it must not turn up anywhere.
const canary = `Geheim"nis\7`

// script joins parts of scripts.
func script(parts ...any) []string {
	var out []string
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			out = append(out, p)
		case []string:
			out = append(out, p...)
		default:
			panic(fmt.Sprint("script: ", p))
		}
	}
	return out
}

type testCert struct {
	tls.Certificate
	pool *x509.CertPool
}

// newCert makes a certificate of an authority that pool trusts.
func newCert(t *testing.T, from, until time.Time, hosts ...string) *testCert {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "fumibako test authority"},
		NotBefore:             time.Now().Add(-100 * time.Hour),
		NotAfter:              time.Now().Add(100 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "fumibako test"},
		NotBefore:    from,
		NotAfter:     until,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, h)
		}
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &testCert{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool}
}

func goodCert(t *testing.T) *testCert {
	return newCert(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.1")
}
