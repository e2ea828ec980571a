package fetch

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

var inbox = Mailbox{Name: "INBOX", Delimiter: "/", Selectable: true}

var listedState = &State{UIDValidity: 7, UIDNext: 1000, Messages: 2}

var mailboxLists = []struct {
	name     string
	caps     string
	list     []string
	want     []Mailbox
	commands []string // nil: not looked at
}{
	{
		name: "one round trip with LIST-STATUS",
		caps: "IMAP4rev1 SASL-IR AUTH=PLAIN LIST-EXTENDED LIST-STATUS SPECIAL-USE",
		list: []string{`(\HasNoChildren) "/" inbox`, `(\Sent) "/" &kAFP4W4IMH8-`},
		want: []Mailbox{
			{Name: "INBOX", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "送信済み", Delimiter: "/", SpecialUse: `\Sent`, Selectable: true, Status: listedState},
		},
		commands: []string{`LIST "" "*" RETURN (STATUS  SPECIAL-USE)`},
	},
	{
		name: "STATUS for each that can be opened",
		list: []string{`() "/" INBOX`, `(\Noselect) "/" a`, `(\NonExistent) "/" b`, `(\Junk) NIL c`},
		want: []Mailbox{
			{Name: "INBOX", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "a", Delimiter: "/"},
			{Name: "b", Delimiter: "/"},
			{Name: "c", SpecialUse: `\Junk`, Selectable: true, Status: listedState},
		},
		commands: []string{`LIST "" "*"`, `STATUS INBOX`, `STATUS "c"`},
	},
	{
		name: "odd names",
		list: []string{`() "/" INBOX`, `() "/" R&D`, `() "/" caf` + "\xe9", `() "/" a&BBAEMQ-&BDM-`},
		want: []Mailbox{
			{Name: "INBOX", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "R&D", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "aАбг", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "caf\xe9", Delimiter: "/", Selectable: true, Status: listedState},
		},
	},
	{
		name: "names that read the same",
		list: []string{`() "/" Entwürfe`, `() "/" INBOX`, `() "/" Entw&APw-rfe`, `() "/" &AEE-`, `() "/" A`, `() "/" A`},
		want: []Mailbox{
			{Name: "INBOX", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "Entwürfe", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "A", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "&AEE-", Delimiter: "/", Selectable: true, Status: listedState},
			{Name: "~fumibako~456e7477c3bc726665~", Delimiter: "/", Selectable: true, Status: listedState},
		},
	},
	{
		name: "INBOX left out",
		list: []string{`() "/" a`},
		want: []Mailbox{{Name: "a", Delimiter: "/", Selectable: true, Status: listedState}},
	},
}

func TestIMAPMailboxes(t *testing.T) {
	for _, test := range mailboxLists {
		t.Run(test.name, func(t *testing.T) {
			p := newIMAPPeer(t, numbered(2)...)
			p.caps, p.list = test.caps, test.list
			s := p.open(t, IMAPOptions{})
			got, err := s.Mailboxes(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if test.commands != nil {
				status := func(c string) string {
					for _, items := range []string{" (", "(MESSAGES", "(UID"} {
						if i := strings.Index(c, items); i >= 0 && strings.HasPrefix(c, "STATUS") {
							c = c[:i]
						}
					}
					if i := strings.Index(c, "STATUS ("); i >= 0 {
						c = c[:i+7] + c[strings.Index(c, ")")+1:]
					}
					return c
				}
				var commands []string
				for _, c := range p.commands() {
					commands = append(commands, status(c))
				}
				if diff := cmp.Diff(test.commands, commands); diff != "" {
					t.Errorf("commands (-want +got)\n%s", diff)
				}
			}
			for _, m := range got {
				if m.Selectable {
					if _, err := s.examine(context.Background(), m); err != nil {
						t.Errorf("%q: %v", m.Name, err)
					}
				}
			}
		})
	}
}

func TestIMAPMailboxesWithoutInbox(t *testing.T) {
	p := newIMAPPeer(t)
	p.list = nil
	p.answer = func(c *peerConn, _ int, command string) bool {
		if command != `LIST "" INBOX` {
			return false
		}
		c.say("* LIST () \"/\" INBOX\r\n")
		c.ok()
		return true
	}
	got, err := p.open(t, IMAPOptions{}).Mailboxes(context.Background())
	if err != nil || len(got) != 1 || got[0].Name != "INBOX" {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestIMAPStatusBehindLists sends all LIST responses before the first STATUS.
func TestIMAPStatusBehindLists(t *testing.T) {
	p := newIMAPPeer(t, numbered(2)...)
	p.caps, p.list = "IMAP4rev1 SASL-IR AUTH=PLAIN LIST-STATUS", []string{`() "/" INBOX`, `() "/" a`, `() "/" b`}
	p.answer = func(c *peerConn, _ int, command string) bool {
		if !strings.HasPrefix(command, "LIST") {
			return false
		}
		for _, l := range p.list {
			c.say("* LIST %s\r\n", l)
		}
		for _, name := range []string{"INBOX", "a", "b"} {
			p.status(c, name)
		}
		c.ok()
		return true
	}
	got, err := p.open(t, IMAPOptions{}).Mailboxes(context.Background())
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	for _, m := range got {
		if m.Status == nil || *m.Status != *listedState {
			t.Errorf("%s: status %v", m.Name, m.Status)
		}
	}
}

// TestIMAPListGrows lets a message arrive while the others are listed.
func TestIMAPListGrows(t *testing.T) {
	p := newIMAPPeer(t, numbered(3)...)
	late := &peerMessage{uid: 9, body: "late"}
	p.answer = func(c *peerConn, _ int, command string) bool {
		if command != "UID FETCH 1:* (UID FLAGS RFC822.SIZE)" && command != "UID FETCH 1:* (UID RFC822.SIZE FLAGS)" {
			return false
		}
		p.fetch(c, "1:*", "FLAGS RFC822.SIZE")
		p.messages = append(p.messages, late)
		c.say("* 4 EXISTS\r\n")
		c.ok()
		return true
	}
	s := p.open(t, IMAPOptions{})
	if got, _ := listAll(t, s, inbox); len(got) != 4 || got[3].UID != "9" {
		t.Errorf("got %v", got)
	}
	for _, c := range p.commands()[2:] {
		if strings.Contains(c, "1:*") {
			t.Errorf("command %q", c)
		}
	}
}

// listAll returns what List tells.
func listAll(t *testing.T, s Source, m Mailbox) ([]Listed, State) {
	t.Helper()
	var l []Listed
	st, err := s.List(context.Background(), m, func(m Listed) error { l = append(l, m); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return l, st
}

func TestIMAPList(t *testing.T) {
	p := newIMAPPeer(t,
		&peerMessage{uid: 3, body: "abc", flags: `\Seen \Recent`},
		&peerMessage{uid: 5, body: "", flags: `\Seen あ`},
		&peerMessage{uid: 9, body: "x", size: "none"},
		&peerMessage{uid: 11, body: "xy", unlisted: true},
	)
	p.caps, p.modSeq = "IMAP4rev1 SASL-IR AUTH=PLAIN CONDSTORE", 44
	s := p.open(t, IMAPOptions{})
	got, st := listAll(t, s, inbox)
	want := []Listed{
		{UID: "3", Size: 3, Flags: []string{`\Seen`}},
		{UID: "5", Size: 0, Flags: []string{`\Seen`, "あ"}},
		{UID: "9", Size: -1},
		{UID: "11", Size: -1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if want := (State{UIDValidity: 7, UIDNext: 1000, Messages: 4, HighestModSeq: 44}); st != want {
		t.Errorf("state %+v, want %+v", st, want)
	}
	for _, c := range p.commands() {
		if strings.HasPrefix(c, "EXAMINE") && c != "EXAMINE INBOX (CONDSTORE)" || strings.HasPrefix(c, "SELECT") {
			t.Errorf("command %q", c)
		}
	}
}

func TestIMAPListEmpty(t *testing.T) {
	p := newIMAPPeer(t)
	s := p.open(t, IMAPOptions{})
	if got, st := listAll(t, s, inbox); len(got) != 0 || st.Messages != 0 {
		t.Errorf("got %v, %v", got, st)
	}
	if diff := cmp.Diff([]string{"EXAMINE INBOX"}, p.commands()); diff != "" {
		t.Errorf("commands (-want +got)\n%s", diff)
	}
}

func TestIMAPListErrors(t *testing.T) {
	mine := errors.New("mine")
	for _, test := range []struct {
		name   string
		answer func(c *peerConn, n int, command string) bool
		fn     func(Listed) error
		reason string
		reach  session.Reach
	}{
		{"refused", func(c *peerConn, _ int, command string) bool {
			return answerWith(c, command, "EXAMINE", "NO [NOPERM] not yours\r\n")
		}, nil, "command-refused", session.ReachMailbox},
		{"no UIDVALIDITY", func(c *peerConn, _ int, command string) bool {
			return say(c, command, "EXAMINE", "* 1 EXISTS\r\n") || say(c, command, "STATUS", "* STATUS INBOX (MESSAGES 1)\r\n")
		}, nil, "uidvalidity-missing", session.ReachMailbox},
		{"fewer than counted", func(c *peerConn, _ int, command string) bool {
			return say(c, command, "EXAMINE", "* 4 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n")
		}, nil, "list-short", session.ReachMailbox},
		{"cut", func(c *peerConn, _ int, command string) bool {
			if strings.Contains(command, "FETCH") {
				c.say("* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 3)\r\n* 2 FET")
				c.Close()
				return true
			}
			return false
		}, nil, "closed", session.ReachAccount},
		{"fn", nil, func(Listed) error { return mine }, "", 0},
		{"without end", func(c *peerConn, _ int, command string) bool {
			if !strings.Contains(command, "FETCH") {
				return false
			}
			for {
				if _, err := io.WriteString(c, strings.Repeat("* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 3)\r\n", 1000)); err != nil {
					return true
				}
			}
		}, nil, "response-flood", session.ReachAccount},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newIMAPPeer(t, numbered(3)...)
			p.answer = test.answer
			s := p.open(t, IMAPOptions{})
			fn := test.fn
			if fn == nil {
				fn = func(Listed) error { return nil }
			}
			_, err := s.List(context.Background(), inbox, fn)
			if test.reason == "" {
				if err != mine {
					t.Errorf("error %v, want the caller's own", err)
				}
				return
			}
			var e *session.Error
			if !errors.As(err, &e) || e.Reason != test.reason || e.Reach != test.reach {
				t.Errorf("error %v, want %q", err, test.reason)
			}
		})
	}
}

// say answers a command that begins with prefix with text and OK.
func say(c *peerConn, command, prefix, text string) bool {
	if !strings.HasPrefix(command, prefix) {
		return false
	}
	c.say("%s", text)
	c.ok()
	return true
}

// answerWith answers a command that begins with prefix with a tagged response.
func answerWith(c *peerConn, command, prefix, text string) bool {
	if !strings.HasPrefix(command, prefix) {
		return false
	}
	c.say("%s %s", c.tag, text)
	return true
}

func TestIMAPUIDValidityByStatus(t *testing.T) {
	p := newIMAPPeer(t, numbered(1)...)
	p.answer = func(c *peerConn, _ int, command string) bool {
		return say(c, command, "EXAMINE", "* 1 EXISTS\r\n* OK [UIDVALIDITY 4294967296] x\r\n")
	}
	if _, st := listAll(t, p.open(t, IMAPOptions{}), inbox); st.UIDValidity != 7 || st.UIDNext != 1000 {
		t.Errorf("state %+v", st)
	}
}

func TestIMAPChanges(t *testing.T) {
	const fetchAll = "UID FETCH 1:* (UID FLAGS)"
	for _, test := range []struct {
		name    string
		caps    string
		modSeq  uint64
		last    State
		command string // "": none
		err     error
	}{
		{"CONDSTORE", "IMAP4rev1 CONDSTORE", 44, State{UIDValidity: 7, HighestModSeq: 40}, fetchAll + " (CHANGEDSINCE 40)", nil},
		{"CONDSTORE, unchanged", "IMAP4rev1 CONDSTORE", 44, State{UIDValidity: 7, HighestModSeq: 44}, "", nil},
		{"CONDSTORE new to the archive", "IMAP4rev1 CONDSTORE", 44, State{UIDValidity: 7}, fetchAll, nil},
		{"CONDSTORE not for this mailbox", "IMAP4rev1 CONDSTORE", 0, State{UIDValidity: 7, HighestModSeq: 40}, fetchAll, nil},
		{"none", "IMAP4rev1", 0, State{UIDValidity: 7}, fetchAll, nil},
		{"another UIDVALIDITY", "IMAP4rev1", 0, State{UIDValidity: 6}, "", ErrChanged},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newIMAPPeer(t, &peerMessage{uid: 3, flags: `\Seen`})
			p.caps, p.modSeq = test.caps+" SASL-IR AUTH=PLAIN", test.modSeq
			var got []Listed
			_, err := p.open(t, IMAPOptions{}).Changes(context.Background(), inbox, test.last, func(l Listed) error { got = append(got, l); return nil })
			if err != test.err {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			commands := p.commands()
			if last := commands[len(commands)-1]; test.command != "" && last != test.command || test.command == "" && strings.Contains(last, "FETCH") {
				t.Errorf("last command %q, want %q", last, test.command)
			}
			if test.command != "" && (len(got) != 1 || got[0].UID != "3" || !slices.Equal(got[0].Flags, []string{`\Seen`})) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestIMAPClose(t *testing.T) {
	p := newIMAPPeer(t)
	s := p.open(t, IMAPOptions{})
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if c := p.commands(); !slices.Equal(c, []string{"LOGOUT"}) {
		t.Errorf("commands %q", c)
	}
	if _, err := s.Mailboxes(context.Background()); err == nil {
		t.Error("no error after Close")
	}
}
