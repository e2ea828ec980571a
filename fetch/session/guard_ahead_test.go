package session

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"
)

const (
	examineA  = "EXAMINE \"a\"\r\n"
	examineB  = "EXAMINE \"b\"\r\n"
	listAll   = "UID FETCH 1:* (UID FLAGS RFC822.SIZE)\r\n"
	listOther = "UID FETCH 1:* (UID RFC822.SIZE FLAGS)\r\n"
	bodyOne   = "UID FETCH 1 (UID INTERNALDATE BODY.PEEK[])\r\n"
	isA       = "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n"
	isB       = "* 2 EXISTS\r\n* OK [UIDVALIDITY 8] x\r\n"
	fetchOne  = "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 9)\r\n"
)

func TestGuardAhead(t *testing.T) {
	for _, test := range []struct {
		name   string
		ahead  []string
		asked  []string // by the library, one after the other's answer
		server string
		sent   string // of the library's commands, what is sent in earnest
		want   string
	}{
		{
			name: "as expected", ahead: []string{examineA, listAll}, asked: []string{examineA, listOther},
			server: isA + "E1 OK x\r\n" + fetchOne + "E2 OK x\r\n",
			want:   isA + "T1 OK x\r\n" + "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 9)\r\nT2 OK x\r\n",
		},
		{
			name: "two mailboxes", ahead: []string{examineA, listAll, examineB, listAll}, asked: []string{examineA, listAll, examineB, listAll},
			server: isA + "E1 OK x\r\n" + fetchOne + "E2 OK x\r\n" + isB + "E3 OK x\r\n* 2 FETCH (UID 1 FLAGS () RFC822.SIZE 8)\r\nE4 OK x\r\n",
			want:   isA + "T1 OK x\r\n" + fetchOne + "T2 OK x\r\n" + isB + "T3 OK x\r\n* 2 FETCH (UID 1 FLAGS () RFC822.SIZE 8)\r\nT4 OK x\r\n",
		},
		{
			name: "the FETCH is passed over", ahead: []string{examineA, listAll, examineB}, asked: []string{examineA, examineB},
			server: isA + "E1 OK x\r\n" + fetchOne + "* 1 EXPUNGE\r\nE2 OK x\r\n" + isB + "E3 OK x\r\n",
			want:   isA + "T1 OK x\r\n" + isB + "T2 OK x\r\n",
		},
		{
			name: "a body is passed over", ahead: []string{examineA, bodyOne, examineB}, asked: []string{examineA, examineB},
			server: isA + "E1 OK x\r\n* 1 FETCH (UID 1 BODY[] {9}\r\nE2 OK x\r\n)\r\nE2 OK x\r\n" + isB + "E3 OK x\r\n",
			want:   isA + "T1 OK x\r\n" + isB + "T2 OK x\r\n",
		},
		{
			name: "a mailbox is passed over", ahead: []string{examineA, listAll, examineB, listAll}, asked: []string{examineB, listAll},
			server: isA + "E1 OK x\r\n" + fetchOne + "E2 OK x\r\n" + isB + "E3 OK x\r\n" + fetchOne + "E4 OK x\r\n",
			want:   isB + "T1 OK x\r\n" + fetchOne + "T2 OK x\r\n",
		},
		{
			// Its FETCH means another mailbox, though it reads the same.
			name: "a FETCH does not pass over an EXAMINE", ahead: []string{examineB, listAll}, asked: []string{listAll}, sent: "T1 " + listAll,
			server: isB + "E1 OK x\r\n* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 1)\r\nE2 OK x\r\n" + fetchOne + "T1 OK x\r\n",
			want:   fetchOne + "T1 OK x\r\n",
		},
		{
			name: "something else", ahead: []string{examineA, listAll}, asked: []string{"NOOP\r\n"}, sent: "T1 NOOP\r\n",
			server: isA + "* FLAGS (x)\r\n* SEARCH 1\r\n* BYE soon\r\nE1 OK x\r\n" + fetchOne + "E2 NO [ALERT] x\r\n* 5 EXISTS\r\nT1 OK x\r\n",
			want:   "* BYE soon\r\n* 5 EXISTS\r\nT1 OK x\r\n",
		},
		{
			name: "refused", ahead: []string{examineA, listAll}, asked: []string{examineA, examineB}, sent: "T2 " + examineB,
			server: "E1 NO no\r\nE2 BAD no mailbox\r\n" + isB + "T2 OK x\r\n",
			want:   "T1 NO no\r\n" + isB + "T2 OK x\r\n",
		},
		{
			// Not in the order of the commands: what it says is not believed.
			name: "the second answered first", ahead: []string{examineA, listAll}, asked: []string{examineA, listAll}, sent: "T2 " + listAll,
			server: fetchOne + "E2 OK x\r\n" + isA + "E1 OK x\r\n" + fetchOne + "T2 OK x\r\n",
			want:   isA + "T1 OK x\r\n" + fetchOne + "T2 OK x\r\n",
		},
		{
			name: "what is ready is not held back", ahead: []string{examineA}, asked: []string{"NOOP\r\n", examineA}, sent: "T1 NOOP\r\nT2 " + examineA,
			server: "* 3 EXISTS\r\nE1 OK x\r\n* 4 EXISTS\r\nT1 OK x\r\n" + isA + "T2 OK x\r\n",
			want:   "* 4 EXISTS\r\nT1 OK x\r\n" + isA + "T2 OK x\r\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, says := io.Pipe()
			asked := make(chan bool, len(test.asked))
			go func() {
				answer := ""
				for line := range strings.Lines(test.server) {
					answer += line
					switch line[0] {
					case 'T':
						<-asked // what was not sent ahead is not answered ahead
						fallthrough
					case 'E':
						io.WriteString(says, answer)
						answer = ""
					}
				}
			}()
			defer server.Close()
			c := newDeafConn(server)
			g := newGuard(c, bufio.NewReaderSize(server, 64<<10))
			var ahead []string
			for _, a := range test.ahead {
				ahead = append(ahead, strings.TrimRight(a, "\r\n"))
			}
			g.sendAhead(ahead...)
			before := len(c.heard())
			br := bufio.NewReader(g)
			type line struct {
				text string
				err  error
			}
			lines := make(chan line)
			go func() {
				defer close(lines)
				for {
					s, err := br.ReadString('\n')
					lines <- line{s, err}
					if err != nil {
						return
					}
				}
			}()
			var got strings.Builder
			for i, a := range test.asked {
				select {
				case l := <-lines:
					t.Fatalf("handed on %q before it was asked for", l.text)
				case <-time.After(20 * time.Millisecond):
				}
				sent := len(c.heard())
				if fmt.Fprintf(g, "T%d %s", i+1, a); len(c.heard()) > sent {
					asked <- true
				}
				for l := range lines {
					got.WriteString(l.text)
					if l.err != nil {
						t.Fatalf("after %q: %v", got.String(), l.err)
					}
					if strings.HasPrefix(l.text, "T") {
						break
					}
				}
			}
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("handed on (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(test.sent, c.heard()[before:]); diff != "" {
				t.Errorf("sent (-want +got)\n%s", diff)
			}
			g.kill()
			says.Close()
			for range lines {
			}
		})
	}
}

// TestGuardAheadKilled drops a session that waits for the library to ask.
func TestGuardAheadKilled(t *testing.T) {
	server := strings.NewReader("* 1 EXISTS\r\n")
	g := newGuard(newDeafConn(server), bufio.NewReader(server))
	g.sendAhead("EXAMINE INBOX")
	ended := make(chan error, 1)
	go func() {
		_, err := g.Read(make([]byte, 10))
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	g.kill()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on waiting")
	}
}

// TestAheadIsWhatTheLibrarySends has the library send what was sent ahead, for
// every spelling of a name and every set of items.
func TestAheadIsWhatTheLibrarySends(t *testing.T) {
	section := func(p imap.PartSpecifier) []*imap.FetchItemBodySection {
		return []*imap.FetchItemBodySection{{Peek: true, Specifier: p}}
	}
	set := imap.UIDSet{{Start: 1, Stop: 3}, {Start: 7, Stop: 7}, {Start: 9, Stop: 0}}
	options := []*imap.FetchOptions{
		{UID: true, Flags: true, RFC822Size: true},
		{UID: true, Flags: true},
		{UID: true, Flags: true, ChangedSince: 1 << 60},
		{UID: true, InternalDate: true, BodySection: section("")},
		{UID: true, BodySection: section(imap.PartSpecifierHeader)},
	}
	for _, name := range []string{"inbox", "a", `a "b" \c`, "送信済み & 箱", alias("R&D"), alias("caf\xe9")} {
		for _, condStore := range []bool{false, true} {
			for i, o := range options {
				c := newDeafConn(nil)
				m := startLibrary(c, func(lines string) (said string) {
					for line := range strings.Lines(lines) {
						tag, _, _ := strings.Cut(line, " ")
						said += tag + " OK x\r\n"
					}
					return said
				})
				f := FetchAhead(set, o)
				m.SendAhead(ExamineAhead(name, condStore), f)
				before := c.heard()
				if _, err := m.Client.Select(name, &imap.SelectOptions{ReadOnly: true, CondStore: condStore}).Wait(); err != nil {
					t.Fatalf("%q: %v", name, err)
				}
				if !m.Next(f) {
					t.Errorf("%q, options %d: the FETCH is not the next", name, i)
				}
				if err := m.Client.Fetch(set, o).Close(); err != nil {
					t.Fatalf("%q, options %d: %v", name, i, err)
				}
				if after := c.heard(); after != before {
					t.Errorf("%q, options %d: sent again: %q", name, i, after[len(before):])
				}
				m.Client.Close()
			}
		}
	}
}
