package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// fetchedAll is what a Fetch brought.
type fetchedAll struct {
	bodies map[string]string
	fails  map[string]string // UID -> reason
	gone   []string
	err    error
}

func fetchAll(s Source, st State, want []Listed) fetchedAll {
	r := fetchedAll{bodies: map[string]string{}, fails: map[string]string{}}
	fails, err := s.Fetch(context.Background(), inbox, st, want, func(l Listed, body io.Reader) error {
		b, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		if _, again := r.bodies[l.UID]; again {
			return fmt.Errorf("UID %s twice", l.UID)
		}
		r.bodies[l.UID] = string(b)
		return nil
	})
	r.err = err
	for _, f := range fails {
		if f.Gone {
			r.gone = append(r.gone, f.Listed.UID)
		} else {
			r.fails[f.Listed.UID] = f.Err.Reason
		}
	}
	return r
}

// check proves that r has all of p's messages but those that failed or are gone.
func (r fetchedAll) check(t *testing.T, messages []*peerMessage, fails map[string]string, gone ...string) {
	t.Helper()
	want := map[string]string{}
	for _, m := range messages {
		uid := fmt.Sprint(m.uid)
		if _, failed := fails[uid]; !failed && !slices.Contains(gone, uid) {
			want[uid] = m.body
		}
	}
	if r.err != nil {
		t.Errorf("error %v", r.err)
	}
	if diff := cmp.Diff(want, r.bodies); diff != "" {
		t.Errorf("bodies (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(fails, r.fails, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("failures (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(gone, r.gone, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("gone (-want +got)\n%s", diff)
	}
}

func TestIMAPFetch(t *testing.T) {
	messages := numbered(40)
	messages[3].body = ""
	messages[5].date = "NIL"
	messages[7].body = "no header\x00\r\rbare\nfeeds\xff"
	messages[9].body = "From: x\r\n\r\n)\r\nT5 OK x\r\n* 1 FETCH (UID 2 BODY[] {3}\r\n"
	messages[11].size = "0"
	messages[12].size = "99999"
	messages = slices.Delete(messages, 20, 25)
	p := newIMAPPeer(t, messages...)
	s := p.open(t, IMAPOptions{FetchCount: 7})
	want, st := listAll(t, s, inbox)
	fetchAll(s, st, want).check(t, messages, nil)
	fetches := 0
	for _, c := range p.commands() {
		if strings.Contains(c, "BODY") {
			fetches++
			if !strings.HasSuffix(c, " (UID INTERNALDATE BODY.PEEK[])") {
				t.Errorf("command %q", c)
			}
		}
		if strings.HasPrefix(c, "SELECT") || strings.Contains(c, "STORE") {
			t.Errorf("command %q", c)
		}
	}
	if fetches != 5 {
		t.Errorf("%d FETCH commands for 35 messages by 7", fetches)
	}
	if p.conns != 1 {
		t.Errorf("%d connections", p.conns)
	}
}

func TestIMAPFetchDates(t *testing.T) {
	p := newIMAPPeer(t, &peerMessage{uid: 1, body: "a"}, &peerMessage{uid: 2, body: "b", date: "NIL"})
	s := p.open(t, IMAPOptions{})
	want, st := listAll(t, s, inbox)
	var got []string
	if _, err := s.Fetch(context.Background(), inbox, st, want, func(l Listed, r io.Reader) error {
		got = append(got, l.InternalDate.Format(time.RFC3339))
		_, err := io.Copy(io.Discard, r)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"2003-02-01T04:05:06+09:00", "0001-01-01T00:00:00Z"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestIMAPFetchKeepsTheLineBusy proves that there are always two commands in
// flight, however large.
func TestIMAPFetchKeepsTheLineBusy(t *testing.T) {
	p := newIMAPPeer(t, numbered(6)...)
	p.answer = func(c *peerConn, _ int, command string) bool {
		if strings.Contains(command, "BODY") && !strings.Contains(command, "FETCH 6 ") {
			// The next command is there before this one is answered.
			if _, err := c.br.Peek(1); err != nil {
				return true
			}
		}
		return false
	}
	s := p.open(t, IMAPOptions{FetchOctets: 1})
	want, st := listAll(t, s, inbox)
	fetchAll(s, st, want).check(t, p.messages, nil)
}

// TestIMAPFetchOutOfOrder lets the server answer the later command first, with
// more messages than the library keeps.
func TestIMAPFetchOutOfOrder(t *testing.T) {
	p := newIMAPPeer(t, numbered(600)...)
	var tag, first string
	p.answer = func(c *peerConn, _ int, command string) bool {
		if !strings.Contains(command, "BODY") {
			return false
		}
		if first == "" {
			tag, first = c.tag, command
			return true
		}
		p.command(c, command)
		if tag != "" {
			c.tag = tag
			p.command(c, first)
			tag = ""
		}
		return true
	}
	s := p.open(t, IMAPOptions{FetchCount: 300})
	want, st := listAll(t, s, inbox)
	fetchAll(s, st, want).check(t, p.messages, nil)
}

func TestIMAPFetchAskedAgain(t *testing.T) {
	for _, test := range []struct {
		name    string
		replace string // the answer for UID 3
		times   int    // how often it is given
		fails   map[string]string
		gone    []string
		unlist  bool // then it is not there
	}{
		{"left out once", "", 1, nil, nil, false},
		{"left out", "", 9, map[string]string{"3": "body-missing"}, nil, false},
		{"left out and gone", "", 9, nil, []string{"3"}, true},
		{"NIL once", "* 3 FETCH (UID 3 INTERNALDATE NIL BODY[] NIL)\r\n", 1, nil, nil, false},
		{"NIL", "* 3 FETCH (UID 3 INTERNALDATE NIL BODY[] NIL)\r\n", 9, map[string]string{"3": "body-nil"}, nil, false},
		{"empty", "* 3 FETCH (UID 3 INTERNALDATE NIL BODY[] {0}\r\n)\r\n", 9, map[string]string{"3": "body-empty"}, nil, false},
		{"without UID", "* 3 FETCH (INTERNALDATE NIL BODY[] {1}\r\nx)\r\n", 9, map[string]string{"3": "body-missing"}, nil, false},
		{"flags only", "* 3 FETCH (UID 3 FLAGS ())\r\n", 9, map[string]string{"3": "body-missing"}, nil, false},
		{"of another", "* 3 FETCH (UID 77 INTERNALDATE NIL BODY[] {1}\r\nx)\r\n", 1, nil, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newIMAPPeer(t, numbered(5)...)
			times := 0
			p.answer = func(c *peerConn, _ int, command string) bool {
				words := strings.Fields(command)
				if !strings.Contains(command, "BODY") || !inSet(words[2], 3) || times >= test.times {
					return false
				}
				times++
				for i, m := range p.messages {
					switch {
					case !inSet(words[2], m.uid):
					case m.uid == 3:
						c.say("%s", test.replace)
						m.gone = test.unlist
					default:
						c.say("%s", m.response(i+1, strings.Join(words[3:], " ")))
					}
				}
				c.ok()
				return true
			}
			s := p.open(t, IMAPOptions{})
			want, st := listAll(t, s, inbox)
			fetchAll(s, st, want).check(t, p.messages, test.fails, test.gone...)
			if p.conns != 1 {
				t.Errorf("%d connections", p.conns)
			}
		})
	}
}

// TestIMAPFetchCulprit lets single messages break the session, or be refused,
// each time they are asked for: they are named, and all others come.
func TestIMAPFetchCulprit(t *testing.T) {
	for _, test := range []struct {
		name   string
		bad    []int
		answer func(c *peerConn, m *peerMessage) (cut bool)
		reason string
	}{
		{"cut in the body", []int{17}, func(c *peerConn, m *peerMessage) bool {
			c.say("* 9 FETCH (UID %d INTERNALDATE NIL BODY[] {99}\r\nabc", m.uid)
			return true
		}, "literal-short"},
		{"cut before the response", []int{17, 30}, func(c *peerConn, m *peerMessage) bool { return true }, "closed"},
		{"length too small", []int{1, 17, 18, 40}, func(c *peerConn, m *peerMessage) bool {
			c.say("* 9 FETCH (UID %d INTERNALDATE NIL BODY[] {3}\r\nabcd)\r\n", m.uid)
			return false
		}, "literal-mismatch"},
		{"length too large", []int{17}, func(c *peerConn, m *peerMessage) bool {
			c.say("* 9 FETCH (UID %d INTERNALDATE NIL BODY[] {9}\r\nabcd)\r\n* OK still here, and so on\r\n", m.uid)
			return false
		}, "literal-mismatch"},
		{"no FETCH response", []int{17}, func(c *peerConn, m *peerMessage) bool {
			c.say("* 9 FETCH UID %d\r\n", m.uid)
			return false
		}, "fetch-syntax"},
		{"too large", []int{17}, func(c *peerConn, m *peerMessage) bool {
			c.say("* 9 FETCH (UID %d BODY[] {99999999999}\r\n", m.uid)
			return false
		}, "literal-too-large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newIMAPPeer(t, numbered(60)...)
			p.answer = func(c *peerConn, _ int, command string) bool {
				if !strings.Contains(command, "BODY") {
					return false
				}
				words := strings.Fields(command)
				for i, m := range p.messages {
					if !inSet(words[2], m.uid) {
						continue
					}
					if !slices.Contains(test.bad, m.uid) {
						c.say("%s", m.response(i+1, strings.Join(words[3:], " ")))
					} else if test.answer(c, m) {
						c.Close()
						return true
					}
				}
				c.ok()
				return true
			}
			s := p.open(t, IMAPOptions{FetchCount: 20})
			want, st := listAll(t, s, inbox)
			fails := map[string]string{}
			for _, uid := range test.bad {
				fails[fmt.Sprint(uid)] = test.reason
			}
			fetchAll(s, st, want).check(t, p.messages, fails)
			if p.conns > 1+4*len(test.bad) {
				t.Errorf("%d connections", p.conns)
			}
		})
	}
}

func TestIMAPFetchRefused(t *testing.T) {
	p := newIMAPPeer(t, numbered(60)...)
	p.answer = func(c *peerConn, _ int, command string) bool {
		words := strings.Fields(command)
		return strings.Contains(command, "BODY") && inSet(words[2], 17) && answerWith(c, command, "UID", "NO corrupt\r\n")
	}
	s := p.open(t, IMAPOptions{FetchCount: 20})
	want, st := listAll(t, s, inbox)
	fetchAll(s, st, want).check(t, p.messages, map[string]string{"17": "command-refused"})
}

// after answers bodies until it comes to that of uid.
func after(uid int, then func(c *peerConn)) func(*imapPeer) func(*peerConn, int, string) bool {
	return func(p *imapPeer) func(*peerConn, int, string) bool {
		return func(c *peerConn, n int, command string) bool {
			if !strings.Contains(command, "BODY") {
				return false
			}
			words := strings.Fields(command)
			for i, m := range p.messages {
				if m.uid == uid {
					then(c)
					return true
				}
				if inSet(words[2], m.uid) {
					c.say("%s", m.response(i+1, strings.Join(words[3:], " ")))
				}
			}
			c.ok()
			return true
		}
	}
}

var errMine = errors.New("mine")

var fetchEnds = []struct {
	name   string
	answer func(*imapPeer) func(*peerConn, int, string) bool
	fn     func(Listed, io.Reader) error
	class  session.Class
	reason string
	err    error
	conns  int
}{
	{name: "BYE", answer: after(5, func(c *peerConn) { c.say("* BYE throttled\r\n"); c.Close() }), class: session.ClassBusy, reason: "throttled", conns: 1},
	{name: "throttled", answer: after(5, func(c *peerConn) {
		c.say("%s NO [OVERQUOTA] Account exceeded command or bandwidth limits.\r\n", c.tag)
	}), class: session.ClassBusy, reason: "throttled", conns: 1},
	{name: "silent", answer: after(5, func(c *peerConn) { c.br.Peek(1 << 20) }), class: session.ClassNetwork, reason: "silent", conns: 5},
	{name: "silent in a body", answer: after(1, func(c *peerConn) {
		c.say("* 1 FETCH (UID 1 INTERNALDATE NIL BODY[] {9}\r\nabc")
		c.br.Peek(1 << 20)
	}), class: session.ClassNetwork, reason: "silent", conns: 3},
	{name: "UIDVALIDITY changes on the way", answer: func(p *imapPeer) func(*peerConn, int, string) bool {
		return func(c *peerConn, n int, command string) bool {
			if strings.Contains(command, "BODY") {
				p.mu.Lock()
				p.validity++
				p.mu.Unlock()
				c.Close()
				return true
			}
			return false
		}
	}, err: ErrChanged, conns: 2},
	{name: "login refused on the way", answer: func(p *imapPeer) func(*peerConn, int, string) bool {
		return func(c *peerConn, n int, command string) bool {
			if strings.Contains(command, "BODY") {
				c.Close()
				return true
			}
			return n > 0 && answerWith(c, command, "AUTH", "NO [AUTHENTICATIONFAILED] no\r\n")
		}
	}, class: session.ClassAuth, reason: "login-refused", conns: 2},
	{name: "fn before the body", fn: func(l Listed, _ io.Reader) error { return errMine }, err: errMine, conns: 1},
	{name: "fn amid the body", fn: func(l Listed, r io.Reader) error { r.Read(make([]byte, 2)); return errMine }, err: errMine, conns: 1},
	{name: "fn after the body", fn: func(l Listed, r io.Reader) error { io.Copy(io.Discard, r); return errMine }, err: errMine, conns: 1},
}

func TestIMAPFetchEnds(t *testing.T) {
	for _, test := range fetchEnds {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newIMAPPeer(t, numbered(300)...)
			if test.answer != nil {
				p.answer = test.answer(p)
			}
			srv := p.start()
			srv.IdleTimeout = 300 * time.Millisecond
			src, err := OpenIMAP(context.Background(), srv, IMAPOptions{FetchCount: 50})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			src.(*imapSource).pauses = []time.Duration{0}
			want, st := listAll(t, src, inbox)
			fn := test.fn
			if fn == nil {
				fn = func(_ Listed, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
			}
			_, err = src.Fetch(context.Background(), inbox, st, want, fn)
			if test.err != nil {
				if err != test.err {
					t.Errorf("error %v, want %v", err, test.err)
				}
			} else {
				var e *session.Error
				if !errors.As(err, &e) || e.Class != test.class || e.Reason != test.reason || e.Reach != session.ReachAccount {
					t.Errorf("error %v, want %q %q of account reach", err, test.class, test.reason)
				}
			}
			if p.mu.Lock(); p.conns > test.conns {
				t.Errorf("%d connections, want %d", p.conns, test.conns)
			}
			p.mu.Unlock()
		})
	}
}

func TestIMAPFetchCancel(t *testing.T) {
	for _, where := range []string{"amid a body", "between bodies", "before a body"} {
		t.Run(where, func(t *testing.T) {
			p := newIMAPPeer(t, numbered(300)...)
			p.messages[9].body = strings.Repeat("x", 1<<20)
			s := p.open(t, IMAPOptions{FetchCount: 50})
			want, st := listAll(t, s, inbox)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, err := s.Fetch(ctx, inbox, st, want, func(l Listed, r io.Reader) error {
				if l.UID == "10" {
					if where == "amid a body" {
						io.ReadFull(r, make([]byte, 1000))
					}
					cancel()
					if where == "between bodies" {
						io.Copy(io.Discard, r)
						return nil
					}
				}
				_, err := io.Copy(io.Discard, r)
				return err
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			s.Close()
			for _, c := range p.commands() {
				if c == "LOGOUT" {
					t.Error("LOGOUT after a cancel")
				}
			}
		})
	}
}

func TestIMAPHeads(t *testing.T) {
	p := newIMAPPeer(t, numbered(30)...)
	p.messages[4].body = ""
	p.answer = func(c *peerConn, n int, command string) bool {
		if n == 0 && strings.Contains(command, "HEADER") && inSet(strings.Fields(command)[2], 20) {
			c.Close()
			return true
		}
		return false
	}
	s := p.open(t, IMAPOptions{FetchCount: 10})
	want, st := listAll(t, s, inbox)
	got := map[string]string{}
	if err := s.Heads(context.Background(), inbox, st, want, func(l Listed, head []byte) error {
		got[l.UID] = string(head)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 29 || got["7"] != "Subject: 7\r\n\r\n" {
		t.Errorf("%d headers, %q", len(got), got["7"])
	}
}

// TestIMAPFetchFlaky cuts the line after random numbers of octets: each message
// comes once, whole, or is named, or an error says that the account ended.
func TestIMAPFetchFlaky(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		cuts := rapid.SliceOfN(rapid.IntRange(0, 20000), 0, 8).Draw(rt, "cuts")
		p := newIMAPPeer(t, numbered(50)...)
		defer p.ln.Close()
		p.answer = func(c *peerConn, n int, command string) bool {
			if !strings.Contains(command, "BODY") || n >= len(cuts) {
				return false
			}
			words := strings.Fields(command)
			left := cuts[n]
			for i, m := range p.messages {
				if inSet(words[2], m.uid) {
					r := m.response(i+1, strings.Join(words[3:], " "))
					if left -= len(r); left < 0 {
						c.say("%s", r[:len(r)+left])
						c.Close()
						return true
					}
					c.say("%s", r)
				}
			}
			cuts[n] = left
			c.ok()
			return true
		}
		s, err := OpenIMAP(context.Background(), p.start(), IMAPOptions{FetchCount: 8})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		s.(*imapSource).pauses = []time.Duration{0}
		want, st := listAll(t, s, inbox)
		r := fetchAll(s, st, want)
		for uid, body := range r.bodies {
			var i int
			fmt.Sscan(uid, &i)
			if body != p.messages[i-1].body {
				rt.Errorf("UID %s: %d octets of %d", uid, len(body), len(p.messages[i-1].body))
			}
			if _, failed := r.fails[uid]; failed {
				rt.Errorf("UID %s came and failed", uid)
			}
		}
		var e *session.Error
		if r.err == nil && len(r.bodies)+len(r.fails) != 50 || r.err != nil && !errors.As(r.err, &e) || len(r.gone) > 0 {
			rt.Errorf("%d came, %v failed, %v gone, error %v", len(r.bodies), r.fails, r.gone, r.err)
		}
	})
}
