package fetchtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/fetchtest"
)

func before(t *testing.T, target net.Addr, faults func(int) fetchtest.Faults) (*fetchtest.Proxy, net.Addr) {
	t.Helper()
	p := fetchtest.NewProxy(target, faults)
	addr, err := p.Listen()
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return p, addr
}

func speaker(t *testing.T, steps ...fetchtest.Step) net.Addr {
	t.Helper()
	s := fetchtest.NewScript(steps...)
	addr, err := s.Listen()
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return addr
}

func TestProxyCutsAtEveryOctet(t *testing.T) {
	const text = "+OK ready\r\nsecond line\r\n"
	target := speaker(t, fetchtest.Send(text))
	p, addr := before(t, target, func(conn int) fetchtest.Faults { return fetchtest.Faults{CutAfter: int64(conn + 1)} })
	for cut := 1; cut <= len(text); cut++ {
		if got := rawDial(t, addr).rest(); got != text[:cut] {
			t.Fatalf("cut after %d: %q", cut, got)
		}
	}
	if p.Conns() != len(text) {
		t.Errorf("%d connections", p.Conns())
	}
}

func TestProxyResets(t *testing.T) {
	target := speaker(t, fetchtest.Expect("go"), fetchtest.Send("+OK ready\r\n"), fetchtest.Hang())
	_, addr := before(t, target, func(int) fetchtest.Faults { return fetchtest.Faults{CutAfter: 3, RST: true} })
	c := rawDial(t, addr)
	c.send("go\r\n")
	_, err := io.ReadAll(c.Conn)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read ended with %v", err)
	}
}

func TestProxyStalls(t *testing.T) {
	target := speaker(t, fetchtest.Send("+OK ready\r\n"), fetchtest.Hang())
	_, addr := before(t, target, func(int) fetchtest.Faults { return fetchtest.Faults{StallAfter: 3} })
	c := rawDial(t, addr)
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	got, err := io.ReadAll(c.Conn)
	if string(got) != "+OK" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestProxyRelaysEveryOctet(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789\r\n\x00\xff."), 5000)
	faults := []struct {
		name string
		f    fetchtest.Faults
		n    int
	}{
		{"plain", fetchtest.Faults{}, len(body)},
		{"one octet at a time", fetchtest.Faults{Chunk: 1}, 4000},
		{"rewriting nothing", fetchtest.Faults{Rewrite: func(b []byte) []byte { return b }}, len(body)},
		{"long line", fetchtest.Faults{CutAt: func([]byte) bool { return false }}, len(body)},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			want := body[:f.n]
			if f.name == "long line" {
				want = bytes.ReplaceAll(want, []byte("\n"), []byte("x"))
			}
			p, addr := before(t, speaker(t, fetchtest.SendOctets(want)), func(int) fetchtest.Faults { return f.f })
			if got := rawDial(t, addr).rest(); got != string(want) {
				t.Errorf("%d octets of %d, or changed ones", len(got), len(want))
			}
			if p.Octets() != int64(len(want)) {
				t.Errorf("counted %d octets", p.Octets())
			}
		})
	}
}

func TestProxyRewrites(t *testing.T) {
	target := speaker(t, fetchtest.Send("keep\r\ndrop\r\nchange\r\nend\r\n"))
	_, addr := before(t, target, func(int) fetchtest.Faults {
		return fetchtest.Faults{
			Rewrite: func(line []byte) []byte {
				switch string(line) {
				case "drop\r\n":
					return nil
				case "change\r\n":
					return []byte("changed\r\nand more\r\n")
				}
				return line
			},
			CutAt: func(line []byte) bool { return string(line) == "end\r\n" },
		}
	})
	if got := rawDial(t, addr).rest(); got != "keep\r\nchanged\r\nand more\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestProxyCommands(t *testing.T) {
	s := newPOP3("one\r\n")
	target := must(s.Listen())
	defer s.Close()
	_, addr := before(t, target, func(n int) fetchtest.Faults {
		if n > 0 {
			return fetchtest.Faults{Refuse: true}
		}
		return fetchtest.Faults{
			RewriteCommand: func(line []byte) []byte { return bytes.Replace(line, []byte("DELE"), []byte("NOOP"), 1) },
			CutAtCommand:   func(line []byte) bool { return strings.HasPrefix(string(line), "QUIT") },
		}
	})
	c := rawDial(t, addr)
	c.line("+OK")
	loginPOP3(c, s)
	c.send("DELE 1\r\n")
	c.line("+OK Nothing")
	c.send("QUIT\r\n")
	if rest := c.rest(); rest != "" || s.Deletes() != 0 {
		t.Errorf("after QUIT %q, %d deletes", rest, s.Deletes())
	}
	if rest := rawDial(t, addr).rest(); rest != "" {
		t.Errorf("the refused connection said %q", rest)
	}
}

func TestScript(t *testing.T) {
	s := fetchtest.NewScripts(
		[]fetchtest.Step{fetchtest.Send("* OK hi\r\n"), fetchtest.Expect("login"), fetchtest.Send("$TAG NO no\r\n"), fetchtest.Reset()},
		[]fetchtest.Step{fetchtest.Repeat([]byte("ab"), 70_000)},
		[]fetchtest.Step{fetchtest.Repeat([]byte("x"), -1)},
		[]fetchtest.Step{fetchtest.Expect("HELO")},
	)
	addr := must(s.Listen())
	defer s.Close()
	c := rawDial(t, addr)
	c.line("* OK hi")
	c.send("x7 LOGIN a b\r\n")
	c.line("x7 NO no")
	if got := rawDial(t, addr).rest(); got != strings.Repeat("ab", 70_000) {
		t.Errorf("%d octets", len(got))
	}
	endless := rawDial(t, addr)
	if _, err := io.CopyN(io.Discard, endless.Conn, 1<<20); err != nil {
		t.Error(err)
	}
	endless.Close()
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	last := rawDial(t, addr)
	last.send("EHLO\r\n")
	last.rest()
	if err := s.Err(); err == nil || !strings.Contains(fmt.Sprint(err), "EHLO") {
		t.Errorf("Err() = %v", err)
	}
	if got := s.Received(); len(got) != 2 || got[0] != "x7 LOGIN a b" || s.Conns() != 4 {
		t.Errorf("received %q in %d connections", got, s.Conns())
	}
}
