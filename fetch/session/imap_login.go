package session

import (
	"bytes"
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"
)

const (
	imapLine      = 64 << 10 // octets of a line before the library takes over
	imapLoginTalk = 1000     // untagged lines in answer to one command before login
)

// imapLogin brings an IMAP connection from its greeting to the authenticated
// state. The library never sees this part.
type imapLogin struct {
	c    *conn
	tags int
	caps imap.CapSet // nil: not told since the last change
	text guardWords
	idUp bool // an ID command was sent whose answer nobody read
}

// run does it all. ctx ends what waits.
func (l *imapLogin) run(ctx context.Context) error {
	preauth, err := l.greeting()
	if err != nil {
		return err
	}
	if err := l.capabilities(false); err != nil {
		return err
	}
	if l.c.s.Security == STARTTLS {
		if preauth {
			// RFC 3501 §6.2.1 knows STARTTLS before login only, and a login that
			// came through cleartext is nobody's (CVE-2021-38371 and its kin).
			return failure(ClassPolicy, "starttls-preauth", nil)
		}
		if err := l.startTLS(ctx); err != nil {
			return err
		}
	}
	if !preauth {
		if err := l.login(ctx); err != nil {
			return err
		}
	}
	if err := l.capabilities(true); err != nil {
		return err
	}
	return l.introduce()
}

// greeting reads the server's first line.
func (l *imapLogin) greeting() (preauth bool, err error) {
	line, err := l.c.readLine(imapLine)
	if err != nil {
		return false, err
	}
	text := strings.TrimRight(string(line), "\r\n")
	if t := l.c.s.Trace; t != nil && t.Greeting != nil {
		t.Greeting(text)
	}
	if status, ok := strings.CutPrefix(text, "* "); ok {
		st := segment{b: []byte(strings.TrimLeft(status, " "))}
		kind := string(appendUpper(nil, st.upToSpace()))
		code, args, words := splitCondition(st.rest())
		l.heard(kind, code, args, words)
		switch kind {
		case "OK":
			return false, nil
		case "PREAUTH":
			return true, nil
		case "BYE":
			r := refusal{kind: kind, code: code, text: string(words)}
			class, reason := r.meaning(ClassBusy, "greeting-bye")
			return false, r.err(class, ReachAccount, reason)
		}
	}
	reason := "greeting-unknown"
	for prefix, known := range map[string]string{
		"+OK":   "greeting-pop3-on-imap",
		"-ERR":  "greeting-pop3-on-imap",
		"220":   "greeting-smtp",
		"HTTP/": "greeting-http",
	} {
		if strings.HasPrefix(text, prefix) {
			reason = known
		}
	}
	e := failure(ClassProtocol, reason, nil)
	e.Server = text[:min(len(text), guardTextKept)]
	return false, e
}

// capabilities makes sure that l.caps is what the server offers now.
func (l *imapLogin) capabilities(afterLogin bool) error {
	if l.caps == nil {
		if _, err := l.exchange("CAPABILITY", nil); err != nil {
			return err
		}
		if l.caps == nil {
			return failure(ClassProtocol, "capability-missing", nil)
		}
	}
	if t := l.c.s.Trace; t != nil && t.Capabilities != nil {
		var names []string
		for _, c := range slices.Sorted(maps.Keys(l.caps)) {
			names = append(names, string(c))
		}
		t.Capabilities(names, afterLogin)
	}
	return nil
}

func (l *imapLogin) startTLS(ctx context.Context) error {
	if !l.caps.Has(imap.CapStartTLS) {
		return failure(ClassPolicy, "starttls-missing", nil)
	}
	r, err := l.exchange("STARTTLS", nil)
	if err != nil {
		return err
	}
	if r.kind != "OK" {
		return r.err(ClassPolicy, ReachAccount, "starttls-refused")
	}
	if err := l.c.startTLS(ctx); err != nil {
		return err
	}
	// What was told in cleartext may have been forged (RFC 3501 §6.2.1).
	l.caps, l.text = nil, guardWords{}
	return l.capabilities(false)
}

// login proves who the user is, once and by one mechanism. A refused login is
// not repeated in another way: servers lock accounts that try again.
func (l *imapLogin) login(ctx context.Context) error {
	secret, err := askSecret(ctx, l.c.s)
	if err != nil {
		return err
	}
	if err := checkCredentials(l.c.s, secret); err != nil {
		return err
	}
	l.c.mask(secret.Password, secret.Token)
	mech, err := l.mechanism(secret)
	if err != nil {
		return err
	}
	if mech == "" {
		mech, err = "LOGIN command", l.plainLogin(secret)
	} else {
		err = l.authenticate(mech, secret)
	}
	if t := l.c.s.Trace; t != nil && t.Auth != nil {
		t.Auth(mech, err)
	}
	return err
}

// mechanism chooses how to log in; "" stands for the LOGIN command.
func (l *imapLogin) mechanism(secret Secret) (string, error) {
	offers := func(mech string) bool { return l.caps.Has(imap.AuthCap(mech)) }
	if secret.Token != "" {
		switch {
		case offers("XOAUTH2"):
			return "XOAUTH2", nil
		case offers(sasl.OAuthBearer):
			return sasl.OAuthBearer, nil
		}
		return "", failure(ClassPolicy, "token-not-offered", nil)
	}
	switch {
	case offers(sasl.Plain):
		return sasl.Plain, nil
	case !l.caps.Has(imap.CapLoginDisabled):
		return "", nil
	case offers(sasl.Login):
		return sasl.Login, nil
	}
	return "", failure(ClassPolicy, "login-disabled", nil)
}

// plainLogin logs in with the LOGIN command (RFC 3501 §6.2.3).
func (l *imapLogin) plainLogin(secret Secret) error {
	l.caps = nil
	parts := []string{"LOGIN"} // each goes out when the one before was answered
	for _, v := range []string{l.c.s.User, secret.Password} {
		last := &parts[len(parts)-1]
		if isASCII(v) {
			*last += " " + string(appendQuoted(nil, []byte(v)))
			continue
		}
		// Only a literal may carry 8-bit octets (RFC 3501 §4.3).
		*last += " {" + strconv.Itoa(len(v)) + "}"
		parts = append(parts, v)
	}
	r, err := l.exchange(parts[0], func(string) (string, error) {
		if len(parts) == 1 {
			return "", failure(ClassProtocol, "response-garbage", nil)
		}
		parts = parts[1:]
		return parts[0], nil
	})
	if err != nil {
		return err
	}
	if r.kind != "OK" {
		return loginRefusal(r)
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// authenticate logs in with a SASL mechanism (RFC 3501 §6.2.2, RFC 4959).
func (l *imapLogin) authenticate(mech string, secret Secret) error {
	client, err := saslClient(mech, l.c.s, secret)
	if err != nil {
		return err
	}
	_, ir, err := client.Start()
	if err != nil {
		return failure(ClassLocal, "sasl-failed", err)
	}
	// What a mechanism sends is the secret in another form, as a whole.
	l.c.mask(string(ir))
	line := "AUTHENTICATE " + mech
	sent := ir == nil
	if ir != nil && l.caps.Has(imap.CapSASLIR) {
		line += " " + encodeSASL(ir, true)
		sent = true
	}
	l.caps = nil
	r, err := l.exchange(line, func(challenge string) (string, error) {
		if !sent {
			sent = true
			return encodeSASL(ir, false), nil
		}
		octets, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			return "*", nil
		}
		answer, err := client.Next(octets)
		if err != nil {
			return "*", nil // RFC 3501 §6.2.2: the client cancels
		}
		l.c.mask(string(answer))
		return encodeSASL(answer, false), nil
	})
	if err != nil {
		return err
	}
	if r.kind == "OK" {
		return nil
	}
	e := loginRefusal(r)
	if why := saslExplanation(client); why != "" {
		e.Server = strings.TrimSpace(e.Server + " " + why)
	}
	return e
}

// encodeSASL encodes a response; an empty initial one is "=" (RFC 4959 §3).
func encodeSASL(b []byte, initial bool) string {
	if len(b) == 0 && initial {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// introduce sends ID (RFC 2971) where it is offered, and does not wait for the
// answer, which would cost a round trip: the guard takes it out of the stream.
//
// QUIRK(netease 163, 126; coremail): EXAMINE is refused to clients without ID.
func (l *imapLogin) introduce() error {
	if !l.caps.Has(imap.CapID) {
		return nil
	}
	l.idUp = true
	return l.send(`ID ("name" "fumibako")`)
}

func (l *imapLogin) tag() string { return "F" + strconv.Itoa(l.tags) }

func (l *imapLogin) send(line string) error {
	l.tags++
	l.c.traceCommand(l.tag() + " " + line)
	_, err := l.c.Write([]byte(l.tag() + " " + line + "\r\n"))
	return err
}

// exchange sends a command and answers continuation requests with what more
// returns for each, until the tagged response.
func (l *imapLogin) exchange(line string, more func(challenge string) (string, error)) (refusal, error) {
	if err := l.send(line); err != nil {
		return refusal{}, err
	}
	tag := []byte(l.tag())
	for range imapLoginTalk {
		b, err := l.c.readLine(imapLine)
		if err != nil {
			if l.text.saidBye {
				return refusal{}, loginRefusal(refusal{kind: "BYE", code: l.text.byeCode, text: l.text.bye})
			}
			return refusal{}, err
		}
		b = bytes.TrimRight(b, "\r\n")
		s := segment{b: b}
		switch word := s.upToSpace(); {
		case string(word) == "*":
			s.spaces()
			l.untagged(s.rest())
		case string(word) == "+" && more != nil:
			s.spaces()
			answer, err := more(string(s.rest()))
			if err != nil {
				return refusal{}, err
			}
			if _, err := l.c.Write([]byte(answer + "\r\n")); err != nil {
				return refusal{}, err
			}
		case bytes.Equal(word, tag):
			s.spaces()
			kind := string(appendUpper(nil, s.upToSpace()))
			code, args, text := splitCondition(s.rest())
			switch kind {
			case "OK", "NO", "BAD":
			default:
				return refusal{}, failure(ClassProtocol, "response-garbage", nil)
			}
			l.heard(kind, code, args, text)
			return refusal{kind: kind, code: code, text: string(text)}, nil
		case len(bytes.TrimSpace(b)) == 0:
		default:
			return refusal{}, failure(ClassProtocol, "response-garbage", nil)
		}
	}
	return refusal{}, failure(ClassProtocol, "response-flood", nil)
}

// untagged takes note of an untagged response without its star.
func (l *imapLogin) untagged(b []byte) {
	s := segment{b: b}
	kind := string(appendUpper(nil, s.upToSpace()))
	s.spaces()
	switch kind {
	case "CAPABILITY":
		l.offered(s.rest())
	case "OK", "NO", "BAD", "BYE":
		code, args, text := splitCondition(s.rest())
		l.heard(kind, code, args, text)
	}
}

func (l *imapLogin) heard(kind, code string, args, text []byte) {
	said := string(text[:min(len(text), guardTextKept)])
	switch {
	case kind == "BYE":
		l.text.saidBye, l.text.bye, l.text.byeCode = true, said, code
	case code == "ALERT":
		l.text.alert = said
	case code == "CAPABILITY" && (kind == "OK" || kind == "PREAUTH"):
		l.offered(args)
	}
}

// offered reads a list of capabilities.
func (l *imapLogin) offered(b []byte) {
	l.caps = make(imap.CapSet)
	for _, name := range bytes.Fields(b) {
		if !isAtom(name) {
			continue
		}
		c := imap.Cap(appendUpper(nil, name))
		switch c {
		case "IMAP4REV1":
			c = imap.CapIMAP4rev1
		case "IMAP4REV2":
			c = imap.CapIMAP4rev2
		}
		l.caps[c] = struct{}{}
	}
}
