package session

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// FuzzGuard holds the guard against a server that says anything at all: it ends,
// does not panic, and what it hands on never surprises the library.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		"* 1 FETCH (UID 5 FLAGS (\\Seen) RFC822.SIZE 9)\r\nT4 OK x\r\n",
		"* 1 FETCH (BODY[] {3}\r\nabc UID 5 INTERNALDATE \"01-Feb-2003 04:05:06 +0900\")\r\nT5 OK x\r\n",
		"* 1 FETCH (UID 5 BODY[HEADER.FIELDS (\"a]\" b)]<0> {3}\r\nabc)\r\n",
		"* LIST (\\Sent) \"\\\" \"a\\b\"\r\n* STATUS a (MESSAGES 3)\r\nT1 OK\r\n",
		"* LIST () \"/\" {3}\r\na\r\n ()\r\nT1 NO [X y] z\r\n",
		"* OK [PERMANENTFLAGS (\\* a]b)] x\r\n* OK [COPYUID 1 2:3 4:5]\r\n* BYE [\r\n",
		"* SEARCH 1 2 3 (MODSEQ 4)\r\n* ESEARCH (TAG \"T6\") UID ALL 1:3\r\nT6 OK\r\n",
		"* 99999999999 FETCH (\r\n* 3 EXPUNGE\r\n* 4 EXISTS\r\n* FLAGS ({1}\r\na b)\r\nT3 OK [READ-ONLY] x\r\n",
		"+ go\r\n* ID (\"a\" NIL)\r\n* VANISHED 1\r\n\r\n",
		"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nE1 OK x\r\n* 1 FETCH (UID 1 FLAGS ())\r\nE2 OK\r\nE3 NO\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nE4 )\r\nE4 OK\r\nT3 OK\r\n",
		"E4 OK\r\n* 1 FETCH (UID 1 BODY[] {2}\r\nab)\r\nE2 BAD\r\nE1 OK\r\nE3 OK\r\nT2 OK\r\n* 1 FETCH (BODY[] {9}\r\n",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, server string, ahead bool) {
		r, w := io.Pipe()
		c := newDeafConn(r)
		g := newGuard(&replyingConn{deafConn: c, w: w, reply: func(string) string { return "" }}, bufio.NewReaderSize(r, 4096))
		g.preface("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
		lib := imapclient.New(g, nil)
		all := imap.UIDSet{imap.UIDRange{Start: 1}}
		if ahead {
			g.sendAhead(`EXAMINE "a"`, "UID FETCH 1:* (UID FLAGS)", `EXAMINE "b"`, "UID FETCH 1:* (UID INTERNALDATE BODY.PEEK[])")
			lib.Select("a", &imap.SelectOptions{ReadOnly: true})
			early := lib.Fetch(all, &imap.FetchOptions{Flags: true})
			go early.Close()
		}
		list := lib.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true}})
		lib.Status("a", &imap.StatusOptions{NumMessages: true})
		lib.Select("a", &imap.SelectOptions{ReadOnly: true})
		flags := lib.Fetch(all, &imap.FetchOptions{Flags: true})
		bodies := lib.Fetch(all, &imap.FetchOptions{InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
		for _, cmd := range []interface{ Close() error }{list, flags, bodies} {
			go cmd.Close()
		}
		go func() {
			io.WriteString(w, server)
			w.Close()
		}()
		select {
		case <-lib.Closed():
		case <-time.After(10 * time.Second):
			t.Fatal("the library does not come to an end")
		}
		err := lib.Close()
		// Whatever the guard refuses the library sees as an error; but what the
		// guard let pass to its end must have been readable.
		if g.failure() == nil && err != nil && !strings.Contains(server, "ESEARCH") {
			t.Fatalf("the library could not read what the guard handed on: %v", err)
		}
	})
}
