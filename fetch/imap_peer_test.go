package fetch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// imapPeer is a small IMAP server whose answers a test may replace.
type imapPeer struct {
	caps     string // "" for IMAP4rev1 with SASL-IR and AUTH=PLAIN
	list     []string
	validity uint32
	modSeq   uint64
	messages []*peerMessage

	// answer, if not nil, may answer a command itself, and returns false if the
	// server shall. n counts connections from 0.
	answer func(c *peerConn, n int, command string) bool

	t     *testing.T
	ln    net.Listener
	mu    sync.Mutex
	log   []string
	conns int
	wg    sync.WaitGroup
}

type peerMessage struct {
	uid      int
	body     string
	flags    string
	date     string // "" for a fixed one
	size     string // RFC822.SIZE if it is not the truth
	unlisted bool   // left out of lists, but there
	gone     bool   // left out of everything
}

// peerConn is one connection; what is written to it is sent at once.
type peerConn struct {
	net.Conn
	p   *imapPeer
	br  *bufio.Reader
	tag string
}

func (c *peerConn) say(format string, args ...any) { fmt.Fprintf(c, format, args...) }

func (c *peerConn) ok() { c.say("%s OK done\r\n", c.tag) }

func newIMAPPeer(t *testing.T, messages ...*peerMessage) *imapPeer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &imapPeer{t: t, ln: ln, validity: 7, messages: messages, list: []string{`() "/" INBOX`}}
	t.Cleanup(func() { ln.Close(); p.wg.Wait() })
	return p
}

// numbered returns n messages with UIDs 1 to n.
func numbered(n int) []*peerMessage {
	var l []*peerMessage
	for i := 1; i <= n; i++ {
		l = append(l, &peerMessage{uid: i, body: fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", i, strings.Repeat(strconv.Itoa(i%10), i*7))})
	}
	return l
}

func (p *imapPeer) start() session.Server {
	p.wg.Go(func() {
		for {
			nc, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			n := p.conns
			p.conns++
			p.mu.Unlock()
			p.wg.Go(func() {
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(30 * time.Second))
				p.serve(&peerConn{Conn: nc, p: p, br: bufio.NewReader(nc)}, n)
			})
		}
	})
	return session.Server{
		Host:        "127.0.0.1",
		Port:        p.ln.Addr().(*net.TCPAddr).Port,
		Security:    session.Cleartext,
		User:        "taro",
		Secret:      func(context.Context) (session.Secret, error) { return session.Secret{Password: "pw"}, nil },
		IdleTimeout: 2 * time.Second,
	}
}

// open starts the peer and opens it as a Source.
func (p *imapPeer) open(t *testing.T, o IMAPOptions) *imapSource {
	t.Helper()
	s, err := OpenIMAP(context.Background(), p.start(), o)
	if err != nil {
		t.Fatal(err)
	}
	src := s.(*imapSource)
	src.pauses = []time.Duration{0}
	t.Cleanup(func() { s.Close() })
	return src
}

// commands returns the commands heard so far, without tags and login.
func (p *imapPeer) commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.log...)
}

func (p *imapPeer) serve(c *peerConn, n int) {
	caps := p.caps
	if caps == "" {
		caps = "IMAP4rev1 SASL-IR AUTH=PLAIN"
	}
	c.say("* OK [CAPABILITY %s] hi\r\n", caps)
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return
		}
		var command string
		c.tag, command, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		login := strings.HasPrefix(command, "AUTHENTICATE")
		if !login {
			p.mu.Lock()
			p.log = append(p.log, command)
			p.mu.Unlock()
		}
		if p.answer != nil && p.answer(c, n, command) {
			continue
		}
		if login {
			c.say("%s OK [CAPABILITY %s] in\r\n", c.tag, caps)
			continue
		}
		if !p.command(c, command) {
			return
		}
	}
}

func (p *imapPeer) command(c *peerConn, command string) bool {
	words := strings.Fields(command)
	switch words[0] {
	case "LIST":
		for _, l := range p.list {
			c.say("* LIST %s\r\n", l)
			if name := l[strings.LastIndexByte(l, ' ')+1:]; strings.Contains(command, "STATUS") {
				p.status(c, name)
			}
		}
	case "STATUS":
		p.status(c, words[1])
	case "EXAMINE":
		p.mu.Lock()
		validity := p.validity
		p.mu.Unlock()
		c.say("* %d EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n* OK [UIDNEXT 1000] x\r\n", p.count(), validity)
		if p.modSeq > 0 {
			c.say("* OK [HIGHESTMODSEQ %d] x\r\n", p.modSeq)
		}
	case "UID":
		if words[1] == "FETCH" {
			p.fetch(c, words[2], strings.Join(words[3:], " "))
		} else {
			c.say("* SEARCH")
			for _, m := range p.messages {
				if !m.gone {
					c.say(" %d", m.uid)
				}
			}
			c.say("\r\n")
		}
	case "LOGOUT":
		c.say("* BYE bye\r\n")
		c.ok()
		return false
	}
	c.ok()
	return true
}

func (p *imapPeer) count() (n int) {
	for _, m := range p.messages {
		if !m.gone {
			n++
		}
	}
	return n
}

func (p *imapPeer) status(c *peerConn, name string) {
	c.say("* STATUS %s (MESSAGES %d UIDNEXT 1000 UIDVALIDITY %d)\r\n", name, p.count(), p.validity)
}

var peerRange = regexp.MustCompile(`(\d+|\*)(?::(\d+|\*))?`)

func inSet(set string, uid int) bool {
	for _, r := range peerRange.FindAllStringSubmatch(set, -1) {
		from, _ := strconv.Atoi(r[1])
		to := from
		if r[2] == "*" {
			to = math.MaxInt
		} else if r[2] != "" {
			to, _ = strconv.Atoi(r[2])
		}
		if from <= uid && uid <= to {
			return true
		}
	}
	return false
}

func (p *imapPeer) fetch(c *peerConn, set, items string) {
	w := bufio.NewWriter(c)
	defer w.Flush()
	for i, m := range p.messages {
		if m.gone || !inSet(set, m.uid) || m.unlisted && strings.Contains(items, "FLAGS") {
			continue
		}
		io.WriteString(w, m.response(i+1, items))
	}
}

// response is a FETCH response with the items that are asked for.
func (m *peerMessage) response(num int, items string) string {
	var out []string
	if strings.Contains(items, "RFC822.SIZE") && m.size != "none" {
		size := m.size
		if size == "" {
			size = strconv.Itoa(len(m.body))
		}
		out = append(out, "RFC822.SIZE "+size)
	}
	if strings.Contains(items, "FLAGS") {
		out = append(out, "FLAGS ("+m.flags+")")
	}
	if strings.Contains(items, "INTERNALDATE") {
		date := m.date
		if date == "" {
			date = `"01-Feb-2003 04:05:06 +0900"`
		}
		out = append(out, "INTERNALDATE "+date)
	}
	out = append(out, fmt.Sprintf("UID %d", m.uid))
	if strings.Contains(items, "BODY.PEEK[]") {
		out = append(out, fmt.Sprintf("BODY[] {%d}\r\n%s", len(m.body), m.body))
	}
	if strings.Contains(items, "BODY.PEEK[HEADER]") {
		head := m.body
		if i := strings.Index(head, "\r\n\r\n"); i >= 0 {
			head = head[:i+4]
		}
		out = append(out, fmt.Sprintf("BODY[HEADER] {%d}\r\n%s", len(head), head))
	}
	return fmt.Sprintf("* %d FETCH (%s)\r\n", num, strings.Join(out, " "))
}
