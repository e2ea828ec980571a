package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// streetPeer is an imapPeer with mailboxes INBOX, a, b, c, …, whose messages are
// those of numbered, each body ending in its mailbox's name. before is asked
// first, with the mailbox that is open.
func streetPeer(t *testing.T, boxes int, before func(c *peerConn, open, command string) bool) *imapPeer {
	p := newIMAPPeer(t, numbered(3)...)
	p.list = []string{`() "/" INBOX`}
	for i := 1; i < boxes; i++ {
		p.list = append(p.list, fmt.Sprintf(`() "/" %c`, 'a'+i-1))
	}
	var mu sync.Mutex
	open := map[*peerConn]string{}
	p.answer = func(c *peerConn, n int, command string) bool {
		mu.Lock()
		defer mu.Unlock()
		words := strings.Fields(command)
		if before != nil && before(c, open[c], command) {
			return true
		}
		switch words[0] {
		case "EXAMINE":
			open[c] = strings.Trim(words[1], `"`)
		case "UID":
			for i, m := range p.messages {
				if inSet(words[2], m.uid) {
					copied := *m
					copied.body = m.body + open[c]
					c.say("%s", copied.response(i+1, command))
				}
			}
			c.ok()
			return true
		}
		return false
	}
	return p
}

// pullStreet lists all mailboxes and fetches all that was listed, as a Pull does.
// It tells of each mailbox how that went.
func pullStreet(t *testing.T, s *imapSource, between func()) map[string]string {
	t.Helper()
	ctx := context.Background()
	boxes, err := s.Mailboxes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	outcome := map[string]string{}
	listed, states := map[string][]Listed{}, map[string]State{}
	for _, b := range boxes {
		states[b.Name], err = s.List(ctx, b, func(l Listed) error {
			listed[b.Name] = append(listed[b.Name], l)
			return nil
		})
		if err != nil {
			outcome[b.Name] = "list: " + reasonOf(err)
			delete(listed, b.Name)
		}
	}
	if between != nil {
		between()
	}
	for _, b := range boxes {
		want, ok := listed[b.Name]
		if !ok {
			continue
		}
		got := 0
		failures, err := s.Fetch(ctx, b, states[b.Name], want, func(l Listed, r io.Reader) error {
			octets, err := io.ReadAll(r)
			if err == nil && !strings.HasSuffix(string(octets), "\r\n"+b.Name) {
				t.Errorf("%s: UID %s is %q", b.Name, l.UID, octets)
			}
			if err == nil {
				got++
			}
			return err
		})
		outcome[b.Name] = fmt.Sprintf("%d of %d", got, len(want))
		if err != nil {
			outcome[b.Name] = "fetch: " + reasonOf(err)
		}
		if len(failures) > 0 {
			outcome[b.Name] += fmt.Sprintf(", %s", failures[0].Err.Reason)
		}
	}
	return outcome
}

func reasonOf(err error) string {
	var e *session.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return err.Error()
}

func TestIMAPAheadOddServers(t *testing.T) {
	const all = "3 of 3"
	good := map[string]string{"INBOX": all, "a": all, "b": all, "c": all, "d": all, "e": all}
	but := func(name, outcome string) map[string]string {
		m := maps.Clone(good)
		m[name] = outcome
		return m
	}
	said := map[string]int{}
	once := func(what string) bool { said[what]++; return said[what] == 1 }
	for _, test := range []struct {
		name    string
		before  func(c *peerConn, open, command string) bool
		between func(p *imapPeer)
		want    map[string]string
		conns   int // 0: 1
	}{
		{name: "well-behaved", want: good},
		{
			name: "EXAMINE refused",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, `EXAMINE "c"`) {
					c.say("%s NO not for you\r\n", c.tag)
					return true
				}
				return false
			},
			want: but("c", "list: command-refused"),
		},
		{
			name: "EXAMINE refused at the second time",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, `EXAMINE "c"`) && !once("c") {
					c.say("%s NO [NONEXISTENT] gone\r\n", c.tag)
					return true
				}
				return false
			},
			want: but("c", "fetch: nonexistent"),
		},
		{
			name: "another UIDVALIDITY between list and fetch",
			between: func(p *imapPeer) {
				p.mu.Lock()
				p.validity = 8
				p.mu.Unlock()
			},
			want: map[string]string{"INBOX": "fetch: " + ErrChanged.Error(), "a": "fetch: " + ErrChanged.Error(), "b": "fetch: " + ErrChanged.Error(),
				"c": "fetch: " + ErrChanged.Error(), "d": "fetch: " + ErrChanged.Error(), "e": "fetch: " + ErrChanged.Error()},
		},
		{
			name: "no UIDVALIDITY from EXAMINE",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, "EXAMINE") {
					c.say("* 3 EXISTS\r\n")
				}
				return false
			},
			want: good,
		},
		{
			name: "FETCH judged before EXAMINE",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, "UID FETCH") && c.br.Buffered() > 0 {
					c.say("%s BAD no mailbox selected\r\n", c.tag)
					return true
				}
				return false
			},
			want: good,
		},
		{
			name: "a message of the mailbox before",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, "EXAMINE") && open != "" {
					c.say("* 2 FETCH (UID 2 FLAGS (\\Seen) RFC822.SIZE 4 BODY[] {4}\r\nold!)\r\n")
					c.say("* 2 FETCH (UID 2 FLAGS (\\Seen) RFC822.SIZE 4)\r\n* 9 EXISTS\r\n")
				}
				return false
			},
			want: good,
		},
		{
			name: "the same message twice",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, "UID FETCH 1:*") {
					c.say("* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n")
				}
				return false
			},
			want: good,
		},
		{
			name: "a body that breaks the session",
			before: func(c *peerConn, open, command string) bool {
				if open == "b" && strings.HasPrefix(command, "UID FETCH") && strings.Contains(command, "BODY") && inSet(strings.Fields(command)[2], 2) {
					c.say("* 2 FETCH (UID 2 BODY[] {5}\r\nabcdefg)\r\n%s OK\r\n", c.tag)
					return true
				}
				return false
			},
			want:  but("b", "2 of 3, literal-mismatch"),
			conns: 3, // the first, without the culprit, and the culprit alone
		},
		{
			name: "a body that is not there",
			before: func(c *peerConn, open, command string) bool {
				if open == "c" && strings.HasPrefix(command, "UID FETCH") && strings.Contains(command, "BODY") {
					set := strings.Fields(command)[2]
					for _, uid := range []int{1, 3} {
						if inSet(set, uid) {
							c.say("* %d FETCH (UID %d INTERNALDATE \"01-Feb-2003 04:05:06 +0900\" BODY[] {3}\r\n\r\nc)\r\n", uid, uid)
						}
					}
					c.ok()
					return true
				}
				return false
			},
			want: but("c", "2 of 3, body-missing"),
		},
		{
			name: "the line breaks",
			before: func(c *peerConn, open, command string) bool {
				if strings.HasPrefix(command, `UID FETCH`) && strings.Contains(command, "BODY") && open == "c" && once("cut") {
					c.Close()
					return true
				}
				return false
			},
			want:  good,
			conns: 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			clear(said)
			p := streetPeer(t, 6, test.before)
			if test.name == "no UIDVALIDITY from EXAMINE" {
				answer := p.answer
				p.answer = func(c *peerConn, n int, command string) bool {
					done := answer(c, n, command)
					if !done && strings.HasPrefix(command, "EXAMINE") {
						c.ok()
						return true
					}
					return done
				}
			}
			s := p.open(t, IMAPOptions{})
			var between func()
			if test.between != nil {
				between = func() { test.between(p) }
			}
			got := pullStreet(t, s, between)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.conns != max(test.conns, 1) {
				t.Errorf("%d connections, want %d", p.conns, max(test.conns, 1))
			}
		})
	}
}
