package fetchtest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A rawConn is a client that reads and writes lines by hand.
type rawConn struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func rawDial(t testing.TB, addr net.Addr) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &rawConn{conn, t, bufio.NewReader(conn)}
}

func (c *rawConn) over(conn net.Conn) { c.Conn, c.r = conn, bufio.NewReader(conn) }

func (c *rawConn) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.Conn, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// line reads a line that must begin with prefix.
func (c *rawConn) line(prefix string) string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, prefix) {
		c.t.Fatalf("got %q (%v), want %q…", line, err, prefix)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// multi sends a command and reads +OK and the octets up to CRLF.CRLF with the
// stuffing undone (RFC 1939 §3), octet by octet and unlike the server does it.
func (c *rawConn) multi(command string) []byte {
	c.t.Helper()
	c.send("%s\r\n", command)
	c.line("+OK")
	var wire []byte
	for !bytes.HasSuffix(wire, []byte("\r\n.\r\n")) && !bytes.Equal(wire, []byte(".\r\n")) {
		b, err := c.r.ReadByte()
		if err != nil {
			c.t.Fatal(err)
		}
		wire = append(wire, b)
	}
	wire = wire[:len(wire)-3]
	var octets []byte
	for i, b := range wire {
		start := i == 0 || i >= 2 && wire[i-1] == '\n' && wire[i-2] == '\r'
		if b == '.' && start {
			continue
		}
		octets = append(octets, b)
	}
	return octets
}

func (c *rawConn) rest() string {
	b, _ := io.ReadAll(c.r)
	return string(b)
}
