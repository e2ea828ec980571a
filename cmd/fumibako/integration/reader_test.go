//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// digest is the SHA-256 of a message's octets.
type digest [32]byte

// served is what a server serves of one message: the octets as sent, and the
// same in canonical form.
type served struct {
	raw, canonical digest
	octets         int
}

func newServed(octets []byte) served {
	return served{raw: sha256.Sum256(octets), canonical: sha256.Sum256(canonical(octets)), octets: len(octets)}
}

var lineEnd = regexp.MustCompile(`\r*\n`)

// canonical is the form in which one stored message is equal whichever
// protocol served it: each \r*\n one CRLF, trailing line ends dropped, NUL 0x80.
func canonical(octets []byte) []byte {
	out := octets
	if bytes.Count(out, []byte("\n")) != bytes.Count(out, []byte("\r\n")) || bytes.Contains(out, []byte("\r\r\n")) {
		out = lineEnd.ReplaceAll(out, []byte("\r\n"))
	}
	for bytes.HasSuffix(out, []byte("\r\n")) {
		out = out[:len(out)-2]
	}
	return bytes.ReplaceAll(out, []byte{0}, []byte{0x80})
}

// readServer reads everything a server serves to user, with a reader of its
// own: a few lines on a socket, no library.
func readServer(t *testing.T, d *dovecot, protocol, user string) map[string][]served {
	t.Helper()
	c, err := net.Dial("tcp", d.address(protocol))
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
	r := &rawReader{t: t, c: c, r: bufio.NewReaderSize(c, 1<<20)}
	if protocol == "pop3" {
		return map[string][]served{"INBOX": r.pop3(user)}
	}
	return r.imap(user)
}

type rawReader struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func (r *rawReader) line() string {
	r.t.Helper()
	line, err := r.r.ReadString('\n')
	must(r.t, err)
	return strings.TrimRight(line, "\r\n")
}

func (r *rawReader) send(format string, args ...any) {
	r.t.Helper()
	_, err := fmt.Fprintf(r.c, format+"\r\n", args...)
	must(r.t, err)
}

func (r *rawReader) pop3(user string) []served {
	r.t.Helper()
	ok := func() string {
		r.t.Helper()
		line := r.line()
		if !strings.HasPrefix(line, "+OK") {
			r.t.Fatalf("POP3 server: %q", line)
		}
		return line
	}
	ok()
	r.send("USER %s", user)
	ok()
	r.send("PASS %s", password)
	ok()
	r.send("STAT")
	n, err := strconv.Atoi(strings.Fields(ok())[1])
	must(r.t, err)
	var all []served
	for i := 1; i <= n; i++ {
		r.send("RETR %d", i)
		ok()
		var octets []byte
		for {
			line, err := r.r.ReadBytes('\n')
			must(r.t, err)
			if string(line) == ".\r\n" {
				break
			}
			octets = append(octets, bytes.TrimPrefix(line, []byte("."))...)
		}
		all = append(all, newServed(octets))
	}
	r.send("QUIT")
	ok()
	return all
}

var (
	literalEnd = regexp.MustCompile(`\{(\d+)\}$`)
	listLine   = regexp.MustCompile(`^\* LIST \(([^)]*)\) (?:"(.)"|NIL) (.*)$`)
)

// imap returns the messages by true mailbox name, the hierarchy by "/". A
// mailbox that is listed and cannot be opened is not in it.
func (r *rawReader) imap(user string) map[string][]served {
	r.t.Helper()
	r.line()
	r.send("a LOGIN %s %s", user, password)
	r.tagged("a", nil)
	type box struct{ wire, name string }
	var boxes []box
	r.send(`b LIST "" "*"`)
	r.tagged("b", func(line string, literals [][]byte) {
		m := listLine.FindStringSubmatch(line)
		if m == nil || strings.Contains(m[1], `\Noselect`) || strings.Contains(m[1], `\NonExistent`) {
			return
		}
		wire := m[3]
		switch {
		case len(literals) == 1:
			wire = string(literals[0])
		case strings.HasPrefix(wire, `"`):
			wire = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(wire[1 : len(wire)-1])
		}
		name := wire
		if m[2] != "" {
			name = strings.ReplaceAll(name, m[2], "/")
		}
		boxes = append(boxes, box{wire, decodeUTF7(name)})
	})
	all := map[string][]served{}
	for _, b := range boxes {
		r.send(`c EXAMINE "%s"`, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(b.wire))
		messages := 0
		if !r.answer("c", func(line string, _ [][]byte) {
			if n, found := strings.CutSuffix(line, " EXISTS"); found {
				messages, _ = strconv.Atoi(strings.TrimPrefix(n, "* "))
			}
		}) {
			continue
		}
		all[b.name] = []served{}
		if messages == 0 {
			continue
		}
		r.send("d UID FETCH 1:* (BODY.PEEK[])")
		r.tagged("d", func(line string, literals [][]byte) {
			if !strings.Contains(line, " FETCH ") {
				return
			}
			if len(literals) != 1 {
				r.t.Fatalf("%d literals in %q", len(literals), line)
			}
			all[b.name] = append(all[b.name], newServed(literals[0]))
		})
		if len(all[b.name]) != messages {
			r.t.Fatalf("%q: %d of %d messages read", b.name, len(all[b.name]), messages)
		}
	}
	r.send("e LOGOUT")
	return all
}

func (r *rawReader) tagged(tag string, fn func(line string, literals [][]byte)) {
	r.t.Helper()
	if !r.answer(tag, fn) {
		r.t.Fatalf("IMAP server refuses %s", tag)
	}
}

// answer calls fn with each untagged response, its literals apart, and reports
// whether the tagged one was OK.
func (r *rawReader) answer(tag string, fn func(line string, literals [][]byte)) bool {
	r.t.Helper()
	for {
		line := r.line()
		if rest, found := strings.CutPrefix(line, tag+" "); found {
			return strings.HasPrefix(rest, "OK")
		}
		var literals [][]byte
		for {
			m := literalEnd.FindStringSubmatch(line)
			if m == nil {
				break
			}
			n, err := strconv.Atoi(m[1])
			must(r.t, err)
			octets := make([]byte, n)
			_, err = io.ReadFull(r.r, octets)
			must(r.t, err)
			literals = append(literals, octets)
			line += r.line()
		}
		if fn != nil {
			fn(line, literals)
		}
	}
}
