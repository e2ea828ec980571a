package fetchtest

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// An entry is one message as a session sees it.
type entry struct {
	*letter
	size    int64
	uidl    string
	deleted bool
}

// A popSession is one client's session. It is run by one goroutine.
type popSession struct {
	s       *POP3
	conn    net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	secured bool
	user    string  // given by USER
	drop    []entry // valid once in is true
	in      bool    // TRANSACTION state (RFC 1939 §5)
	quit    bool
}

func (s *POP3) serve(raw net.Conn) {
	u := &popSession{s: s, conn: raw}
	if s.Security == session.TLS {
		u.conn, u.secured = tls.Server(raw, tlsConfig(s.Cert)), true
	}
	defer func() {
		u.conn.Close()
		s.mu.Lock()
		delete(s.conns, raw)
		if u.in {
			s.locked = false
		}
		s.mu.Unlock()
	}()
	u.wire()
	u.ok(strings.TrimSpace("POP3 server ready " + s.APOP))
	for !u.quit {
		if u.r.Buffered() == 0 {
			if u.w.Flush() != nil {
				return
			}
		}
		line, err := u.r.ReadSlice('\n')
		if err != nil {
			return
		}
		if u.r.Buffered() > 0 {
			s.count(&s.pipelined)
		}
		verb, arg, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		u.command(strings.ToUpper(verb), arg)
	}
	u.w.Flush()
}

func (u *popSession) wire() {
	u.r = bufio.NewReaderSize(u.conn, 4096)
	u.w = bufio.NewWriterSize(u.conn, 32<<10)
}

func (u *popSession) ok(text string)  { fmt.Fprintf(u.w, "+OK %s\r\n", text) }
func (u *popSession) err(text string) { fmt.Fprintf(u.w, "-ERR %s\r\n", text) }

func (u *popSession) command(verb, arg string) {
	logged := verb
	switch {
	case verb == "PASS", verb == "APOP":
		logged += " ***"
	case verb == "AUTH":
		mechanism, _, initial := strings.Cut(arg, " ")
		if logged += " " + mechanism; initial {
			logged += " ***"
		}
	case arg != "":
		logged += " " + arg
	}
	u.s.commands.add(logged)
	if u.s.Delay > 0 {
		// What was answered so far must not wait with the next answer.
		u.w.Flush()
		time.Sleep(u.s.Delay)
	}
	switch {
	case verb == "QUIT":
		u.quit = true
		if u.in {
			// Before the answer, so that a client which waits for it finds the
			// maildrop free.
			u.in = false
			u.s.commit(u.drop)
		}
		u.ok("Bye")
	case verb == "CAPA" && !u.s.NoCAPA:
		u.ok("Capability list follows")
		for _, c := range u.s.capabilities(u.secured) {
			fmt.Fprintf(u.w, "%s\r\n", c)
		}
		u.w.WriteString(".\r\n")
	case !u.in:
		u.authorization(verb, arg)
	default:
		u.transaction(verb, arg)
	}
}

// authorization runs a command of the AUTHORIZATION state (RFC 1939 §4).
func (u *popSession) authorization(verb, arg string) {
	s := u.s
	switch {
	case verb == "STLS" && s.Security == session.STARTTLS && !u.secured:
		u.ok("Begin TLS negotiation")
		if u.w.Flush() != nil {
			u.quit = true
			return
		}
		// The new reader starts empty: nothing sent in the clear is taken for a
		// command of the protected session (RFC 2595 §4).
		u.conn, u.secured = tls.Server(u.conn, tlsConfig(s.Cert)), true
		u.wire()
	case s.Security == session.STARTTLS && !u.secured:
		u.err("[AUTH] STLS is required first")
	case verb == "USER" && !s.NoUser:
		u.user = arg
		u.ok("Send PASS")
	case verb == "PASS" && !s.NoUser && u.user != "":
		u.login(u.user, u.user == s.User && arg == s.Password)
	case verb == "APOP" && s.APOP != "":
		name, digest, _ := strings.Cut(arg, " ")
		sum := md5.Sum([]byte(s.APOP + s.Password)) // RFC 1939 §7
		u.login(name, name == s.User && digest == hex.EncodeToString(sum[:]))
	case verb == "AUTH" && !s.NoSASL:
		u.auth(arg)
	default:
		u.err("Unknown command in this state")
	}
}

// auth runs AUTH with or without an initial response (RFC 5034 §4).
func (u *popSession) auth(arg string) {
	mechanism, response, initial := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	if mechanism != "PLAIN" && (mechanism != "XOAUTH2" || u.s.Token == "") {
		u.err("Unknown mechanism")
		return
	}
	if !initial {
		var ok bool
		if response, ok = u.challenge(""); !ok {
			return
		}
	}
	answer, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		u.err("Malformed response")
		return
	}
	if mechanism == "PLAIN" {
		parts := strings.Split(string(answer), "\x00")
		good := len(parts) == 3 && (parts[0] == "" || parts[0] == parts[1]) && parts[1] == u.s.User && parts[2] == u.s.Password
		u.login(u.s.User, good)
		return
	}
	if string(answer) == "user="+u.s.User+"\x01auth=Bearer "+u.s.Token+"\x01\x01" {
		u.login(u.s.User, true)
		return
	}
	if _, ok := u.challenge(`{"status":"400","schemes":"Bearer"}`); ok {
		u.login(u.s.User, false)
	}
}

func (u *popSession) challenge(text string) (string, bool) {
	fmt.Fprintf(u.w, "+ %s\r\n", base64.StdEncoding.EncodeToString([]byte(text)))
	if u.w.Flush() != nil {
		u.quit = true
		return "", false
	}
	line, err := u.r.ReadSlice('\n')
	if err != nil {
		u.quit = true
		return "", false
	}
	u.s.commands.add("***")
	return strings.TrimRight(string(line), "\r\n"), true
}

func (u *popSession) login(user string, good bool) {
	if u.s.RefuseLogin != nil {
		if words := u.s.RefuseLogin(user); words != "" {
			u.err(words)
			return
		}
	}
	if !good {
		u.err("[AUTH] Authentication failed")
		return
	}
	drop, ok := u.s.open()
	if !ok {
		u.err("[IN-USE] The maildrop is in use by another session")
		return
	}
	u.drop, u.in = drop, true
	u.ok("Logged in")
}

// transaction runs a command of the TRANSACTION state (RFC 1939 §5, §7).
func (u *popSession) transaction(verb, arg string) {
	switch {
	case verb == "NOOP":
		u.ok("Nothing done")
	case verb == "STAT":
		var n, size int64
		for _, e := range u.drop {
			if !e.deleted {
				n, size = n+1, size+e.size
			}
		}
		u.ok(fmt.Sprintf("%d %d", n, size))
	case verb == "RSET":
		for i := range u.drop {
			u.drop[i].deleted = false
		}
		u.ok("Nothing is deleted")
	case verb == "LIST":
		u.list(arg, func(i int) (string, bool) { return strconv.FormatInt(u.drop[i].size, 10), true })
	case verb == "UIDL" && !u.s.NoUIDL:
		u.list(arg, func(i int) (string, bool) { return u.drop[i].uidl, u.s.OmitUIDL == nil || !u.s.OmitUIDL(i) })
	case verb == "DELE":
		if i, ok := u.index(arg); ok {
			u.drop[i].deleted = true
			u.s.count(&u.s.deletes)
			u.ok("Marked for deletion")
		}
	case verb == "RETR":
		if i, ok := u.index(arg); ok && !u.refused(i) {
			u.s.count(&u.s.retrieved)
			u.ok(fmt.Sprintf("%d octets", u.drop[i].size))
			u.multiline(u.drop[i].octets)
		}
	case verb == "TOP" && !u.s.NoTOP:
		num, lines, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(lines)
		if err != nil || n < 0 {
			u.err("TOP needs a number of lines")
		} else if i, ok := u.index(num); ok && !u.refused(i) {
			u.ok("Top of message follows")
			u.multiline(top(u.drop[i].octets, n))
		}
	default:
		u.err("Unknown command in this state")
	}
}

// index finds the message that a command names by its number, or answers -ERR.
func (u *popSession) index(num string) (int, bool) {
	n, err := strconv.Atoi(num)
	if err != nil || n < 1 || n > len(u.drop) || u.drop[n-1].deleted {
		u.err("No such message")
		return 0, false
	}
	return n - 1, true
}

func (u *popSession) refused(i int) bool {
	if u.s.RefuseRetr == nil {
		return false
	}
	words := u.s.RefuseRetr(i)
	if words != "" {
		u.err(words)
	}
	return words != ""
}

func (u *popSession) list(arg string, value func(i int) (string, bool)) {
	if arg != "" {
		if i, ok := u.index(arg); ok {
			v, _ := value(i)
			u.ok(fmt.Sprintf("%d %s", i+1, v))
		}
		return
	}
	u.ok("List follows")
	for i := range u.drop {
		if v, ok := value(i); ok && !u.drop[i].deleted {
			fmt.Fprintf(u.w, "%d %s\r\n", i+1, v)
		}
	}
	u.w.WriteString(".\r\n")
}

// multiline writes octets as the body of a multi-line response: a dot at the
// start of a line is doubled, and only CRLF ends a line (RFC 1939 §3).
func (u *popSession) multiline(octets []byte) {
	octets = AsPOP3(octets)
	for len(octets) > 0 {
		line := octets
		if n := bytes.Index(octets, []byte("\r\n")); n >= 0 {
			line = octets[:n+2]
		}
		octets = octets[len(line):]
		if line[0] == '.' {
			u.w.WriteByte('.')
		}
		u.w.Write(line)
	}
	u.w.WriteString(".\r\n")
}

// top returns the header of a message with its empty line, and n lines of the
// body (RFC 1939 §7). A header without an empty line is all there is.
func top(octets []byte, n int) []byte {
	end, _ := HeaderEnd(octets)
	for ; n > 0 && end < len(octets); n-- {
		next := bytes.Index(octets[end:], []byte("\r\n"))
		if next < 0 {
			return octets
		}
		end += next + 2
	}
	return octets[:end]
}
