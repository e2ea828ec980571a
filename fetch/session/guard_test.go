package session

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// deafConn is a net.Conn that says what r says and keeps what it is told.
type deafConn struct {
	r io.Reader

	mu     sync.Mutex
	told   bytes.Buffer
	closed chan struct{}
	once   sync.Once
}

func newDeafConn(r io.Reader) *deafConn { return &deafConn{r: r, closed: make(chan struct{})} }

func (c *deafConn) Read(p []byte) (int, error) { return c.r.Read(p) }
func (c *deafConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Write(p)
}
func (c *deafConn) heard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.String()
}
func (c *deafConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *deafConn) LocalAddr() net.Addr              { return nil }
func (c *deafConn) RemoteAddr() net.Addr             { return nil }
func (c *deafConn) SetDeadline(time.Time) error      { return nil }
func (c *deafConn) SetReadDeadline(time.Time) error  { return nil }
func (c *deafConn) SetWriteDeadline(time.Time) error { return nil }

// through returns what the guard makes of what a server says while the commands
// T1, T2, … are in flight.
func through(server io.Reader, commands ...string) (string, *guard, error) {
	c := newDeafConn(server)
	g := newGuard(c, bufio.NewReaderSize(server, 64<<10))
	for i, cmd := range commands {
		fmt.Fprintf(g, "T%d %s\r\n", i+1, cmd)
	}
	b, err := io.ReadAll(g)
	return string(b), g, err
}

func crlf(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n" }

const (
	askList   = `LIST "" "*" RETURN (STATUS (MESSAGES UIDVALIDITY))`
	askFlags  = `UID FETCH 1:* (UID FLAGS RFC822.SIZE)`
	askBodies = `UID FETCH 1:9 (UID INTERNALDATE BODY.PEEK[])`
)

var guardRewrites = []struct {
	name   string
	ask    string
	server string
	want   string // "": nothing is handed on
}{
	{"tagged", "NOOP", "T1 OK done\r\n", "T1 OK done\r\n"},
	{"tagged without text", "NOOP", "T1 OK\r\n", "T1 OK\r\n"},
	{"tagged in lower case, spaces", "NOOP", "T1  ok  done  \r\n", "T1 OK done\r\n"},
	{"bare LF", "NOOP", "T1 OK done\n", "T1 OK done\r\n"},
	{"tag of nobody", "NOOP", "X7 OK done\r\n", ""},
	{"blank lines", "NOOP", "\r\n  \r\n\nT1 OK x\r\n", "T1 OK x\r\n"},
	{"code of a bracket only in text", "NOOP", "T1 OK [\r\n", "T1 OK  [\r\n"},
	{"continuation nobody waits for", "NOOP", "+ idling\r\nT1 OK x\r\n", "T1 OK x\r\n"},

	{"capability code", "NOOP", "* OK [CAPABILITY IMAP4rev1 ] hi\r\n", "* OK hi\r\n"},
	{"capability response", "NOOP", "* CAPABILITY IMAP4rev1 \r\n", ""},
	{"uidvalidity in lower case", "EXAMINE INBOX", "* OK [uidvalidity 7] ok\r\n", "* OK [UIDVALIDITY 7] ok\r\n"},
	{"uidvalidity zero", "EXAMINE INBOX", "* OK [UIDVALIDITY 0] ok\r\n", "* OK ok\r\n"},
	{"uidvalidity too large", "EXAMINE INBOX", "* OK [UIDVALIDITY 4294967296] ok\r\n", "* OK ok\r\n"},
	{"uidnext no number", "EXAMINE INBOX", "* OK [UIDNEXT x]\r\n", "* OK\r\n"},
	{"highestmodseq", "EXAMINE INBOX", "* OK [HIGHESTMODSEQ 18446744073709551615]\r\n", "* OK [HIGHESTMODSEQ 18446744073709551615]\r\n"},
	{"permanentflags with trailing space", "EXAMINE INBOX", "* OK [PERMANENTFLAGS (\\Seen )] x\r\n", "* OK [PERMANENTFLAGS (\\Seen)] x\r\n"},
	{"permanentflags with bracket", "EXAMINE INBOX", "* OK [PERMANENTFLAGS (a]b \\*)] x\r\n", "* OK [PERMANENTFLAGS (fumibako-flag-615d62 \\*)] x\r\n"},
	{"permanentflags with what looks like a literal", "EXAMINE INBOX", "* OK [PERMANENTFLAGS ({5}\r\n", "* OK  [PERMANENTFLAGS ({5}\r\n"},
	{"unknown code", "EXAMINE INBOX", "* OK [UNSEEN 3] x\r\n", "* OK [UNSEEN] x\r\n"},
	{"stray CR in text", "NOOP", "* OK a\rb\r\n", "* OK a b\r\n"},
	{"bye", "NOOP", "* BYE [UNAVAILABLE] down\r\n", "* BYE [UNAVAILABLE] down\r\n"},

	{"flags with trailing space", "EXAMINE INBOX", "* FLAGS (\\Seen )\r\n", "* FLAGS (\\Seen)\r\n"},
	{"flags of none", "EXAMINE INBOX", "* FLAGS NIL\r\n", "* FLAGS ()\r\n"},
	{"exists", "NOOP", "* 3 EXISTS\r\n", "* 3 EXISTS\r\n"},
	{"exists with more", "NOOP", "*  3  exists \r\n", "* 3 EXISTS\r\n"},
	{"recent", "NOOP", "* 3 RECENT\r\n", ""},
	{"expunge", "NOOP", "* 3 EXPUNGE\r\n", "* 3 EXPUNGE\r\n"},
	{"vanished", "NOOP", "* VANISHED (EARLIER) 1:5\r\n", ""},
	{"unknown with literal", "NOOP", "* XFOO {5}\r\n* OK \r\n* 1 EXISTS\r\n", "* 1 EXISTS\r\n"},
	{"lsub", "NOOP", "* LSUB () \"/\" x\r\n", ""},
	{"id with NIL", "NOOP", "* ID (\"name\" NIL)\r\n", ""},
	{"search with what is no number", "UID SEARCH ALL", "* SEARCH 1  2 x 0 4294967296 3 (MODSEQ 9)\r\n", "* SEARCH 1 2 3\r\n"},
	{"search nobody asked for", "NOOP", "* SEARCH 1\r\n", ""},

	{"list", askList, "* LIST (\\HasNoChildren) \"/\" \"a b\"\r\n", "* LIST (\\HasNoChildren) \"/\" \"a b\"\r\n"},
	{"list inbox", askList, "* LIST () \"/\" inbox\r\n", "* LIST () \"/\" INBOX\r\n"},
	{"list modified UTF-7", askList, "* LIST () \"/\" &kAFP4W4IMH8-\r\n", "* LIST () \"/\" \"&kAFP4W4IMH8-\"\r\n"},
	{"list R&D", askList, "* LIST () \"/\" R&D\r\n", "* LIST () \"/\" \"" + alias("R&D") + "\"\r\n"},
	{"list null shift", askList, "* LIST () \"/\" \"a&BBAEMQ-&BDM-\"\r\n", "* LIST () \"/\" \"" + alias("a&BBAEMQ-&BDM-") + "\"\r\n"},
	{"list shifted ASCII", askList, "* LIST () \"/\" \"x&AGE-\"\r\n", "* LIST () \"/\" \"" + alias("x&AGE-") + "\"\r\n"},
	{"list UTF-8", askList, "* LIST () \"/\" \"Entwürfe\"\r\n", "* LIST () \"/\" \"" + alias("Entwürfe") + "\"\r\n"},
	{"list unquoted UTF-8", askList, "* LIST () \"/\" 日本\r\n", "* LIST () \"/\" \"" + alias("日本") + "\"\r\n"},
	{"list 8-bit", askList, "* LIST () \"/\" \"caf\xe9\"\r\n", "* LIST () \"/\" \"" + alias("caf\xe9") + "\"\r\n"},
	{"list TAB", askList, "* LIST () \"/\" \"a\tb\"\r\n", "* LIST () \"/\" \"" + alias("a\tb") + "\"\r\n"},
	{"list literal", askList, "* LIST () \"/\" {4}\r\na\"\\b\r\n", "* LIST () \"/\" \"a\\\"\\\\b\"\r\n"},
	{"list literal with line end", askList, "* LIST () \"/\" {3}\r\na\r\n\r\n", "* LIST () \"/\" \"" + alias("a\r\n") + "\"\r\n"},
	{"list name that looks like an alias", askList, "* LIST () \"/\" \"~fumibako~61~\"\r\n", "* LIST () \"/\" \"" + alias("~fumibako~61~") + "\"\r\n"},
	{"list unquoted name with spaces", askList, "* LIST () \"/\" Sent Items\r\n", "* LIST () \"/\" \"Sent Items\"\r\n"},
	{"list unescaped quotes", askList, "* LIST () \"/\" \"a \"b\" c\"\r\n", "* LIST () \"/\" \"a \\\"b\\\" c\"\r\n"},
	{"list backslash delimiter", askList, "* LIST () \"\\\" \"a\\b\"\r\n", "* LIST () \"\\\\\" \"a\\\\b\"\r\n"},
	{"list escaped backslash delimiter", askList, "* LIST () \"\\\\\" \"a\\\\b\"\r\n", "* LIST () \"\\\\\" \"a\\\\b\"\r\n"},
	{"list nil delimiter", askList, "* LIST () nil a\r\n", "* LIST () NIL \"a\"\r\n"},
	{"list empty delimiter", askList, "* LIST () \"\" a\r\n", "* LIST () NIL \"a\"\r\n"},
	{"list unquoted delimiter", askList, "* LIST () / a\r\n", "* LIST () \"/\" \"a\"\r\n"},
	{"list long delimiter", askList, "* LIST () \"//\" a\r\n", "* LIST () NIL \"a\"\r\n"},
	{"list attributes NIL", askList, "* LIST NIL \"/\" a\r\n", "* LIST () \"/\" \"a\"\r\n"},
	{"list odd attributes", askList, "* LIST (\\Sent \"x y\" \\あ ) \"/\" a\r\n", "* LIST (\\Sent) \"/\" \"a\"\r\n"},
	{"list extended data", askList, "* LIST () \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n", "* LIST () \"/\" \"a\"\r\n"},
	{"list extended data after quotes", askList, "* LIST () \"/\" \"a\" (\"OLDNAME\" (\"b\"))\r\n", "* LIST () \"/\" \"a\"\r\n"},
	{"list without a name", askList, "* LIST () \"/\" \"\"\r\n", ""},
	{"list nobody asked for", "NOOP", "* LIST () \"/\" a\r\n", ""},

	{"status", askList, "* STATUS a (MESSAGES 3 UIDVALIDITY 7)\r\n", "* STATUS \"a\" (MESSAGES 3 UIDVALIDITY 7)\r\n"},
	{"status trailing space", askList, "* STATUS a (MESSAGES 3 ) \r\n", "* STATUS \"a\" (MESSAGES 3)\r\n"},
	{"status R&D", askList, "* STATUS R&D (MESSAGES 3)\r\n", "* STATUS \"" + alias("R&D") + "\" (MESSAGES 3)\r\n"},
	{"status literal", askList, "* STATUS {1}\r\na (MESSAGES 3)\r\n", "* STATUS \"a\" (MESSAGES 3)\r\n"},
	{"status bad numbers", askList, "* STATUS \"a\" (MESSAGES -1 UIDNEXT 99999999999 UIDVALIDITY 7x SIZE NIL messages 4)\r\n", "* STATUS \"a\" (MESSAGES 4)\r\n"},
	{"status unknown items", askList, "* STATUS \"a\" (MAILBOXID (x y) MESSAGES 4 X {3}\r\n( ( Y \"(\")\r\n", "* STATUS \"a\" (MESSAGES 4)\r\n"},
	{"status name with spaces", askList, "* STATUS a (b) c (MESSAGES 4)\r\n", "* STATUS \"a (b) c\" (MESSAGES 4)\r\n"},

	{"fetch", askFlags, "* 1 FETCH (UID 5 FLAGS (\\Seen $x) RFC822.SIZE 99)\r\n", "* 1 FETCH (UID 5 FLAGS (\\Seen $x) RFC822.SIZE 99)\r\n"},
	{"fetch spaces", askFlags, "* 1 FETCH ( FLAGS ( \\Seen )  UID 5 )  \r\n", "* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n"},
	{"fetch without closing parenthesis", askFlags, "* 1 FETCH (UID 5 FLAGS ()\r\n", "* 1 FETCH (UID 5 FLAGS ())\r\n"},
	{"fetch recent", askFlags, "* 1 FETCH (UID 5 FLAGS (\\Recent \\recent))\r\n", "* 1 FETCH (UID 5 FLAGS ())\r\n"},
	{"fetch odd flags", askFlags, "* 1 FETCH (UID 5 FLAGS (\"a b\" c]d あ NIL {2}\r\nef \\ *))\r\n", "* 1 FETCH (UID 5 FLAGS (" + flag("a b") + " " + flag("c]d") + " " + flag("あ") + " NIL ef " + flag("\\") + " " + flag("*") + "))\r\n"},
	{"fetch flag that looks like an alias", askFlags, "* 1 FETCH (UID 5 FLAGS (fumibako-flag-61))\r\n", "* 1 FETCH (UID 5 FLAGS (" + flag("fumibako-flag-61") + "))\r\n"},
	{"fetch bad size", askFlags, "* 1 FETCH (UID 5 RFC822.SIZE -3 FLAGS ())\r\n", "* 1 FETCH (UID 5 FLAGS ())\r\n"},
	{"fetch huge size", askFlags, "* 1 FETCH (UID 5 RFC822.SIZE 99999999999999999999 FLAGS ())\r\n", "* 1 FETCH (UID 5 FLAGS ())\r\n"},
	{"fetch modseq", askFlags, "* 1 FETCH (UID 5 MODSEQ (7) FLAGS ())\r\n", "* 1 FETCH (UID 5 FLAGS () MODSEQ (7))\r\n"},
	{"fetch modseq without parentheses", askFlags, "* 1 FETCH (MODSEQ 7 UID 5)\r\n", "* 1 FETCH (UID 5 MODSEQ (7))\r\n"},
	{"fetch unknown items", askFlags, "* 1 FETCH (X-A (a (b \")\") {3}\r\n)))) UID 5 X-B NIL X-C)\r\n", "* 1 FETCH (UID 5)\r\n"},
	{"fetch envelope", askFlags, "* 1 FETCH (ENVELOPE (NIL (\"x\")) BODY (\"text\" \"plain\") UID 5)\r\n", "* 1 FETCH (UID 5)\r\n"},
	{"fetch without UID", askFlags, "* 1 FETCH (FLAGS ())\r\n", ""},
	{"fetch UID zero", askFlags, "* 1 FETCH (UID 0 FLAGS ())\r\n", ""},
	{"fetch UID too large", askFlags, "* 1 FETCH (UID 4294967296 FLAGS ())\r\n", ""},
	{"fetch sequence number too large", askFlags, "* 99999999999 FETCH (UID 5)\r\n", "* 1 FETCH (UID 5)\r\n"},
	{"fetch nobody asked for", "NOOP", "* 1 FETCH (UID 5 FLAGS ())\r\n", ""},
	{"fetch body nobody asked for", "NOOP", "* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n", ""},

	{"body", askBodies, "* 1 FETCH (UID 5 INTERNALDATE \" 1-Feb-2003 04:05:06 +0900\" BODY[] {3}\r\na\r\n)\r\n", "* 1 FETCH (UID 5 INTERNALDATE \"1-Feb-2003 04:05:06 +0900\" BODY[] {3}\r\na\r\n)\r\n"},
	{"body without date", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {3}\r\nabc)\r\n", "* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n"},
	{"body before UID", askBodies, "* 1 FETCH (BODY[] {3}\r\nabc INTERNALDATE \"01-Feb-2003 04:05:06 GMT\" UID 5)\r\n", "* 1 FETCH (UID 5 INTERNALDATE \"01-Feb-2003 04:05:06 +0000\" BODY[] {3}\r\nabc)\r\n"},
	{"body before date", askBodies, "* 1 FETCH (UID 5 BODY[] {3}\r\nabc INTERNALDATE \"01-Feb-2003 04:05:06 +0000\")\r\n", "* 1 FETCH (UID 5 INTERNALDATE \"01-Feb-2003 04:05:06 +0000\" BODY[] {3}\r\nabc)\r\n"},
	{"two bodies before UID", askBodies, "* 1 FETCH (BODY[] {3}\r\nabc BODY[HEADER] NIL UID 5)\r\n", "* 1 FETCH (UID 5 BODY[] {3}\r\nabc BODY[HEADER] NIL)\r\n"},
	{"body and no UID", askBodies, "* 1 FETCH (BODY[] {3}\r\nabc)\r\n", ""},
	{"date ahead of its body", askBodies, "* 1 FETCH (UID 5 INTERNALDATE \"01-Feb-2003 04:05:06 +0000\")\r\n* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n", "* 1 FETCH (UID 5 INTERNALDATE \"01-Feb-2003 04:05:06 +0000\" BODY[] {3}\r\nabc)\r\n"},
	{"flags amid bodies", askBodies, "* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n", ""},
	{"body nil", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] nil)\r\n", "* 1 FETCH (UID 5 BODY[] NIL)\r\n"},
	{"body empty", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {0}\r\n FLAGS ())\r\n", "* 1 FETCH (UID 5 BODY[] {0}\r\n FLAGS ())\r\n"},
	{"body quoted", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] \"a\\\"b\")\r\n", "* 1 FETCH (UID 5 BODY[] {3}\r\na\"b)\r\n"},
	{"body by its old name", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL RFC822 {1}\r\nx)\r\n", "* 1 FETCH (UID 5 BODY[] {1}\r\nx)\r\n"},
	{"body peek", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL body.peek[header] {1}\r\nx)\r\n", "* 1 FETCH (UID 5 BODY[HEADER] {1}\r\nx)\r\n"},
	{"body with a looking-like response in it", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {25}\r\n)\r\n* 2 FETCH (UID 6)\r\n* {)\r\n", "* 1 FETCH (UID 5 BODY[] {25}\r\n)\r\n* 2 FETCH (UID 6)\r\n* {)\r\n"},
	{"literal with plus", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {1+} \r\nx)\r\n", "* 1 FETCH (UID 5 BODY[] {1}\r\nx)\r\n"},
}

func TestGuardRewrites(t *testing.T) {
	for _, test := range guardRewrites {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range []struct {
				name   string
				server io.Reader
			}{
				{"whole", strings.NewReader(test.server)},
				{"by octet", iotest.OneByteReader(strings.NewReader(test.server))},
			} {
				got, _, err := through(r.server, test.ask)
				if err != nil {
					t.Fatalf("%s: %v", r.name, err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", r.name, diff)
				}
			}
		})
	}
}

func alias(name string) string {
	return strings.Trim(string(appendMailbox(nil, []byte(name))), `"`)
}

func flag(name string) string { return string(appendFlag(nil, []byte(name))) }

func TestGuardRefuses(t *testing.T) {
	long := strings.Repeat("x", guardTextMax)
	for _, test := range []struct {
		name   string
		ask    string
		server string
		class  Class
		reason string
		passed string // what is handed on before
	}{
		{"garbage", "NOOP", "hello\r\n", ClassProtocol, "response-garbage", ""},
		{"end inside a line", "NOOP", "* 1 EXISTS\r\n* OK", ClassNetwork, "closed", "* 1 EXISTS\r\n"},
		{"endless line", "NOOP", "* OK " + long, ClassProtocol, "response-too-long", ""},
		{"endless literal in a name", askList, "* LIST () \"/\" {1048576}\r\n", ClassProtocol, "response-too-long", ""},
		{"huge literal in a name", askList, "* LIST () \"/\" {99999999999999}\r\n", ClassProtocol, "response-too-long", ""},
		{"many literals in one response", askFlags, "* 1 FETCH (UID 5 FLAGS (" + strings.Repeat("{100000}\r\n"+long[:100000], 11), ClassProtocol, "response-too-long", ""},
		{"body too large", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {4294967296}\r\n", ClassProtocol, "literal-too-large", ""},
		{"body cut", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {9}\r\nabc", ClassNetwork, "literal-short", "* 1 FETCH (UID 5 BODY[] {9}\r\nabc"},
		{"body cut before its last octet", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {4}\r\nabc", ClassNetwork, "literal-short", "* 1 FETCH (UID 5 BODY[] {4}\r\nabc"},
		{"held body cut", askBodies, "* 1 FETCH (BODY[] {9}\r\nabc", ClassNetwork, "literal-short", ""},
		{"held body longer than announced", askBodies, "* 1 FETCH (UID 5 BODY[] {3}\r\nabcdef)\r\n", ClassProtocol, "literal-mismatch", ""},
		{"end after the body", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {3}\r\nabc", ClassNetwork, "closed", "* 1 FETCH (UID 5 BODY[] {3}\r\nab"},
		{"body longer than announced", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {3}\r\nabcdef)\r\n", ClassProtocol, "literal-mismatch", "* 1 FETCH (UID 5 BODY[] {3}\r\nab"},
		{"body longer by a line end", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {3}\r\nabc\r\n)\r\n", ClassProtocol, "literal-mismatch", "* 1 FETCH (UID 5 BODY[] {3}\r\nab"},
		{"body shorter than announced", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {6}\r\nabc)\r\nT1 OK x\r\n", ClassProtocol, "literal-mismatch", "* 1 FETCH (UID 5 BODY[] {6}\r\nabc)\r"},
		{"body longer with a word behind it", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {3}\r\nabc d, e)\r\n", ClassProtocol, "literal-mismatch", "* 1 FETCH (UID 5 BODY[] {3}\r\nab"},
		{"list not ended behind a body", askBodies, "* 1 FETCH (UID 5 INTERNALDATE NIL BODY[] {3}\r\nabc FLAGS ()\r\n", ClassProtocol, "literal-mismatch", "* 1 FETCH (UID 5 BODY[] {3}\r\nab"},
		{"bodies without end", askBodies, "* 1 FETCH (" + strings.Repeat("BODY[] {1}\r\nx ", 99), ClassProtocol, "fetch-syntax", ""},
		{"no list", askFlags, "* 1 FETCH UID 5\r\n", ClassProtocol, "fetch-syntax", ""},
		{"flags without end", askFlags, "* 1 FETCH (UID 5 FLAGS (\\Seen\r\n", ClassProtocol, "flags-syntax", ""},
		{"chatter without end", "NOOP", strings.Repeat("* OK "+long[:100000]+"\r\n", guardDropMax/100000+1), ClassProtocol, "response-flood", "…"},
		{"unknown without end", "NOOP", strings.Repeat("* X "+long[:100000]+"\r\n", guardDropMax/100000+1), ClassProtocol, "response-flood", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, g, err := through(strings.NewReader(test.server), test.ask)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v (%T), want an *Error; handed on %.80q", err, err, got)
			}
			if e.Class != test.class || e.Reason != test.reason {
				t.Errorf("error %q %q, want %q %q", e.Class, e.Reason, test.class, test.reason)
			}
			if test.passed != "…" && got != test.passed {
				t.Errorf("handed on %q, want %q", got, test.passed)
			}
			if g.failure() != err {
				t.Errorf("failure() = %v, want %v", g.failure(), err)
			}
		})
	}
}

func TestGuardHoldsLargeBodies(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), guardHoldMax/8) // twice what memory may hold
	server := fmt.Sprintf("* 1 FETCH (BODY[HEADER] {4}\r\nabcd BODY[] {%d}\r\n%s INTERNALDATE NIL UID 5)\r\nT1 OK x\r\n", len(body), body)
	want := fmt.Sprintf("* 1 FETCH (UID 5 BODY[HEADER] {4}\r\nabcd BODY[] {%d}\r\n%s)\r\nT1 OK x\r\n", len(body), body)
	got, _, err := through(strings.NewReader(server), askBodies)
	if err != nil || got != want {
		t.Errorf("handed on %d octets, %v; want %d, nil", len(got), err, len(want))
	}
}

func TestGuardSends(t *testing.T) {
	for _, test := range []struct {
		name        string
		literalPlus bool
		extra       string
		lines       string
		want        string
	}{
		{name: "as it is", lines: "T1 NOOP\r\n", want: "T1 NOOP\r\n"},
		{name: "plain name", lines: "T1 EXAMINE \"a\"\r\n", want: "T1 EXAMINE \"a\"\r\n"},
		{name: "odd name", lines: "T1 EXAMINE \"" + alias("R&D \"x\\") + "\" (CONDSTORE)\r\n", want: "T1 EXAMINE \"R&D \\\"x\\\\\" (CONDSTORE)\r\n"},
		{name: "8-bit name", lines: "T1 STATUS \"" + alias("日本") + "\" (MESSAGES)\r\n", want: "T1 STATUS \"日本\" (MESSAGES)\r\n"},
		{name: "8-bit name as a literal", literalPlus: true, lines: "T1 STATUS \"" + alias("日本") + "\" (MESSAGES)\r\n", want: "T1 STATUS {6+}\r\n日本 (MESSAGES)\r\n"},
		{name: "extra item", extra: "X-GM-MSGID", lines: "T1 UID FETCH 1:* (UID FLAGS RFC822.SIZE)\r\n", want: "T1 UID FETCH 1:* (UID FLAGS RFC822.SIZE X-GM-MSGID)\r\n"},
		{name: "extra item not for bodies", extra: "X-GM-MSGID", lines: "T1 UID FETCH 1 (UID BODY.PEEK[])\r\n", want: "T1 UID FETCH 1 (UID BODY.PEEK[])\r\n"},
		{name: "literal", lines: "T1 APPEND a {3+}\r\na\r\n\r\nT2 NOOP\r\n", want: "T1 APPEND a {3+}\r\na\r\n\r\nT2 NOOP\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 4096} {
				c := newDeafConn(strings.NewReader(""))
				g := newGuard(c, bufio.NewReader(c))
				g.literalPlus, g.extra = test.literalPlus, test.extra
				for rest := test.lines; rest != ""; {
					n := min(size, len(rest))
					if _, err := io.WriteString(g, rest[:n]); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if got := c.heard(); got != test.want {
					t.Errorf("by %d: sent %q, want %q", size, got, test.want)
				}
			}
		})
	}
}

func TestGuardRefusesToSend(t *testing.T) {
	for _, name := range []string{"a\r\nT9 DELETE INBOX", "a\x00b", strings.Repeat("é", longestName)} {
		c := newDeafConn(strings.NewReader(""))
		g := newGuard(c, bufio.NewReader(c))
		g.literalPlus = true
		fmt.Fprintf(g, "T1 EXAMINE \"%s\"\r\n", alias(name))
		err := g.failure()
		var e *Error
		if !errors.As(err, &e) || e.Reason != "mailbox-name-unsendable" || c.heard() != "" {
			t.Errorf("%.20q: sent %q, error %v", name, c.heard(), err)
		}
	}
}

func TestGuardExtra(t *testing.T) {
	got := map[uint32]string{}
	for _, test := range []struct{ extra, server string }{
		{"X-GM-MSGID", "* 1 FETCH (X-GM-MSGID 1278455344230334865 UID 5 FLAGS ())\r\n"},
		{"EMAILID", "* 2 FETCH (UID 6 EMAILID (M6d99ac3275bb4e) FLAGS ())\r\n"},
	} {
		r := strings.NewReader(test.server)
		g := newGuard(newDeafConn(r), bufio.NewReader(r))
		g.extra = test.extra
		g.also = func(uid uint32, v string) { got[uid] = v }
		fmt.Fprintf(g, "T1 %s\r\n", askFlags)
		if _, err := io.ReadAll(g); err != nil {
			t.Fatal(err)
		}
	}
	want := map[uint32]string{5: "1278455344230334865", 6: "M6d99ac3275bb4e"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestGuardKeepsWords(t *testing.T) {
	_, g, err := through(strings.NewReader(crlf("* OK [ALERT] read this", "T1 NO [LIMIT] no more", "* BYE too much")), "NOOP")
	if err != nil {
		t.Fatal(err)
	}
	want := guardWords{alert: "read this", no: "no more", bye: "too much", saidBye: true}
	if got := g.said(); got != want {
		t.Errorf("said() = %+v, want %+v", got, want)
	}
}

func TestGuardOwes(t *testing.T) {
	var owed []bool
	r, w := io.Pipe()
	g := newGuard(newDeafConn(r), bufio.NewReader(r))
	g.owe = func(b bool) { owed = append(owed, b) }
	fmt.Fprint(g, "T1 NOOP\r\nT2 NOOP\r\n")
	go func() {
		io.WriteString(w, crlf("T1 OK", "* 1 EXISTS", "T2 OK"))
		w.Close()
	}()
	if _, err := io.ReadAll(g); err != nil {
		t.Fatal(err)
	}
	if len(owed) != 1 || owed[0] {
		t.Errorf("owe was called with %v, want once with false", owed)
	}
}

func TestNormalDate(t *testing.T) {
	for _, test := range []struct{ raw, want string }{
		{"17-Jul-1996 02:44:25 -0700", "17-Jul-1996 02:44:25 -0700"},
		{" 7-Jul-1996 02:44:25 -0700", "7-Jul-1996 02:44:25 -0700"},
		{"7-Jul-1996 02:44:25 +0000", "7-Jul-1996 02:44:25 +0000"},
		{"07-Jul-1996 02:44:25 +000", "07-Jul-1996 02:44:25 +0000"},
		{"07-Jul-1996 02:44:25 +900", "07-Jul-1996 02:44:25 +0900"},
		{"07-Jul-1996 02:44:25 GMT", "07-Jul-1996 02:44:25 +0000"},
		{"07-Jul-1996 02:44:25", "07-Jul-1996 02:44:25 +0000"},
		{"07-Jul-1996 02:44:25 +09:00", "07-Jul-1996 02:44:25 +0900"},
		{"Sun, 07 Jul 1996 02:44:25 +0900", "07-Jul-1996 02:44:25 +0900"},
		{"1996-07-07T02:44:25+09:00", "07-Jul-1996 02:44:25 +0900"},
		{"00-Jul-1996 02:44:25 +0000", ""},
		{"01-Jan-0001 00:00:00 +0000", ""},
		{"01-Jan-0000 00:00:00 +0000", ""},
		{"", ""},
		{"yesterday", ""},
	} {
		if got := string(normalDate([]byte(test.raw))); got != test.want {
			t.Errorf("normalDate(%q) = %q, want %q", test.raw, got, test.want)
		}
	}
}

func TestMailboxNames(t *testing.T) {
	for _, test := range []struct {
		octets, name string
		plain        bool
	}{
		{"a", "a", true},
		{"Work/Kunde &- Co", "Work/Kunde & Co", true},
		{"&kAFP4W4IMH8-", "送信済み", true},
		{"&2D3eAA-", "😀", true},
		{"R&D", "R&D", false},
		{"a&BBAEMQ-&BDM-", "aАбг", false},
		{"x&AGE-", "xa", false},
		{"&2D0-", "&2D0-", false},   // half a surrogate pair
		{"&kAFP-", "&kAFP-", false}, // three octets
		{"&AAo=-", "&AAo=-", false}, // padded
		{"日本", "日本", false},
		{"caf\xe9", "caf\xe9", false},
		{"a\tb", "a\tb", false},
		{"", "", false},
	} {
		library := alias(test.octets)
		if test.plain {
			library, _ = decodeUTF7(test.octets)
		}
		name, octets, sendable := MailboxName(library)
		if name != test.name || octets != test.octets || !sendable {
			t.Errorf("%q is known as %q: MailboxName = %q, %q, %v; want %q", test.octets, library, name, octets, sendable, test.name)
		}
		if got := isPlainMailbox([]byte(test.octets)); got != test.plain {
			t.Errorf("isPlainMailbox(%q) = %v", test.octets, got)
		}
	}
}

func TestUTF7RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		got, ok := decodeUTF7(encodeUTF7(name))
		if !ok || got != name {
			t.Fatalf("decode(%q) = %q, %v", encodeUTF7(name), got, ok)
		}
	})
}

// TestGuardNamesThroughLibrary sends names of all kinds through the library and
// back: what is examined must be spelled as it was listed.
func TestGuardNamesThroughLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) []byte { return []byte(encodeUTF7(s)) }),
			rapid.Map(rapid.StringMatching(`[a&A-Z0-9,\-/ "\\%*~é日]{1,20}`), func(s string) []byte { return []byte(s) }),
			rapid.SliceOfN(rapid.ByteRange(1, 255), 1, 30),
		).Draw(t, "raw")
		if len(raw) == 0 || bytes.ContainsAny(raw, "\r\n") || equalFold(raw, "INBOX") {
			t.Skip()
		}
		server := fmt.Sprintf("* LIST () \"/\" {%d}\r\n%s\r\nT1 OK x\r\n", len(raw), raw)
		c := newDeafConn(nil)
		lib := startLibrary(c, func(told string) string {
			if strings.HasPrefix(told, "T1") {
				return server
			}
			return ""
		})
		data, err := lib.Client.List("", "*", nil).Collect()
		if err != nil || len(data) != 1 {
			t.Fatalf("%q: listed %v, %v", raw, data, err)
		}
		lib.Client.Select(data[0].Mailbox, &imap.SelectOptions{ReadOnly: true})
		want := "T2 EXAMINE " + string(appendQuoted(nil, raw)) + "\r\n"
		if got := c.heard(); !strings.HasSuffix(got, want) {
			t.Fatalf("sent %q, want %q", got, want)
		}
		lib.Client.Close()
	})
}

// startLibrary runs the library over a guard over c, which answers each line with
// what reply returns for it.
func startLibrary(c *deafConn, reply func(line string) string) *IMAP {
	r, w := io.Pipe()
	c.r = r
	g := newGuard(&replyingConn{deafConn: c, w: w, reply: reply}, bufio.NewReaderSize(r, 64<<10))
	g.preface("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
	return &IMAP{g: g, Client: imapclient.New(g, nil)}
}

type replyingConn struct {
	*deafConn
	w     *io.PipeWriter
	reply func(string) string
}

func (c *replyingConn) Write(p []byte) (int, error) {
	n, err := c.deafConn.Write(p)
	if s := c.reply(string(p)); s != "" {
		go io.WriteString(c.w, s)
	}
	return n, err
}

func (c *replyingConn) Close() error {
	c.w.CloseWithError(io.EOF)
	return c.deafConn.Close()
}

// TestGuardBodies sends bodies through the guard and the library, in responses
// whose items come in any order.
func TestGuardBodies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bodies := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 3000), 1, 8).Draw(t, "bodies")
		var server bytes.Buffer
		for i, body := range bodies {
			items := []string{
				fmt.Sprintf("UID %d", i+1),
				`INTERNALDATE "01-Feb-2003 04:05:06 +0900"`,
				"FLAGS (\\Seen)",
				"X-FOO (a {2}\r\n)) \"b\")",
				fmt.Sprintf("BODY[] {%d}\r\n%s", len(body), body),
			}
			if len(body) > 0 && rapid.Bool().Draw(t, "flags first") {
				fmt.Fprintf(&server, "* %d FETCH (UID %d FLAGS ())\r\n", i+1, i+1)
			}
			fmt.Fprintf(&server, "* %d FETCH (%s)\r\n", i+1, strings.Join(rapid.Permutation(items).Draw(t, "items"), " "))
		}
		server.WriteString("T1 OK done\r\n")
		c := newDeafConn(nil)
		lib := startLibrary(c, func(line string) string { return server.String() })
		defer lib.Client.Close()
		set := imap.UIDSet{imap.UIDRange{Start: 1}}
		cmd := lib.Client.Fetch(set, &imap.FetchOptions{UID: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
		msgs, err := cmd.Collect()
		if err != nil || len(msgs) != len(bodies) {
			t.Fatalf("%d messages, %v; want %d", len(msgs), err, len(bodies))
		}
		for i, m := range msgs {
			if m.UID != imap.UID(i+1) || m.InternalDate.IsZero() || len(m.BodySection) != 1 || !bytes.Equal(m.BodySection[0].Bytes, bodies[i]) {
				t.Fatalf("message %d: UID %d, date %v, %d bodies", i, m.UID, m.InternalDate, len(m.BodySection))
			}
		}
	})
}
