package session

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// login proves who the user is, once and by one mechanism. A refused login is
// not repeated in another way: servers lock accounts that try again.
func (p *POP3) login(ctx context.Context, timestamp string) error {
	secret, err := askSecret(ctx, p.c.s)
	if err != nil {
		return err
	}
	if err := checkCredentials(p.c.s, secret); err != nil {
		return err
	}
	p.c.mask(secret.Password, secret.Token)
	mech, err := p.mechanism(secret, timestamp)
	if err != nil {
		return err
	}
	switch mech {
	case "USER":
		err = p.userPass(secret)
	case "APOP":
		var mayGoOn bool
		mayGoOn, err = p.apop(secret, timestamp)
		p.traceAuth(mech, err)
		if err == nil || !mayGoOn {
			return err
		}
		// QUIRK(qpopper and kin): a timestamp stands in the greeting although
		// this user's password is only stored hashed, so that APOP cannot work.
		mech, err = "USER", p.userPass(secret)
	default:
		err = p.authenticate(mech, secret)
	}
	p.traceAuth(mech, err)
	return err
}

func (p *POP3) traceAuth(mech string, err error) {
	if t := p.c.s.Trace; t != nil && t.Auth != nil {
		t.Auth(mech, err)
	}
}

// askSecret asks s.Secret.
func askSecret(ctx context.Context, s Server) (Secret, error) {
	if s.Secret == nil {
		return Secret{}, failure(ClassLocal, "no-secret", nil)
	}
	secret, err := s.Secret(ctx)
	var e *Error
	switch {
	case ctx.Err() != nil:
		return Secret{}, ctx.Err()
	case errors.As(err, &e):
		return Secret{}, e
	case err != nil:
		return Secret{}, failure(ClassLocal, "secret-unavailable", err)
	case secret == Secret{}:
		return Secret{}, failure(ClassAuth, "secret-empty", nil)
	}
	return secret, nil
}

// mechanism chooses how to log in, by what the server offers. "USER" stands for
// USER and PASS.
func (p *POP3) mechanism(secret Secret, timestamp string) (string, error) {
	offered := p.caps["SASL"]
	offers := func(mech string) bool {
		return slices.ContainsFunc(offered, func(m string) bool { return strings.EqualFold(m, mech) })
	}
	if secret.Token != "" {
		switch {
		case offers("XOAUTH2"), len(offered) == 0:
			return "XOAUTH2", nil
		case offers(sasl.OAuthBearer):
			return sasl.OAuthBearer, nil
		}
		return "", failure(ClassPolicy, "token-not-offered", nil)
	}
	_, user := p.caps["USER"]
	switch {
	case offers(sasl.Plain):
		return sasl.Plain, nil
	case user:
		return "USER", nil
	case offers(sasl.Login):
		return sasl.Login, nil
	case timestamp != "" && p.c.s.Security == Cleartext:
		return "APOP", nil
	}
	return "USER", nil
}

// userPass logs in with USER and PASS (RFC 1939 §7).
func (p *POP3) userPass(secret Secret) error {
	for _, line := range []string{"USER " + p.c.s.User, "PASS " + secret.Password} {
		ok, words, _, err := p.ask(line)
		if err != nil {
			return err
		}
		if !ok {
			return p.refusal(words, ClassAuth, refusedOrBusy)
		}
	}
	return nil
}

// refusedOrBusy is the reason of a refused login of which the server does not
// say whether the password is wrong.
const refusedOrBusy = "refused-or-busy"

// apop logs in with a digest (RFC 1939 §7). mayGoOn tells that the refusal does
// not speak against trying the password itself.
func (p *POP3) apop(secret Secret, timestamp string) (mayGoOn bool, err error) {
	sum := md5.Sum([]byte(timestamp + secret.Password))
	digest := hex.EncodeToString(sum[:])
	p.c.mask(digest)
	ok, words, _, err := p.ask("APOP " + p.c.s.User + " " + digest)
	if err != nil || ok {
		return false, err
	}
	e := p.refusal(words, ClassAuth, refusedOrBusy)
	return e.Reason == refusedOrBusy, e
}

// apopTimestamp returns the msg-id in a greeting, angle brackets included, or "".
func apopTimestamp(words string) string {
	open := strings.LastIndexByte(words, '<')
	if open < 0 {
		return ""
	}
	id := words[open:]
	end := strings.IndexByte(id, '>')
	if end < 0 || !strings.Contains(id[:end], "@") {
		return ""
	}
	return id[:end+1]
}

// authenticate runs one SASL mechanism (RFC 5034 §4).
//
// QUIRK(exchange online, servers of RFC 1734): the initial response is never
// put on the AUTH line. Microsoft documents the two-line form only, and SASL in
// CAPA is older than the argument.
func (p *POP3) authenticate(mech string, secret Secret) error {
	sc, err := saslClient(mech, p.c.s, secret)
	if err != nil {
		return err
	}
	_, response, err := sc.Start()
	if err != nil {
		return failure(ClassLocal, "sasl-failed", err)
	}
	p.c.mask(string(response))
	first := response != nil
	spoke := false // the server has got what it needs to decide
	if err := p.send("AUTH " + mech); err != nil {
		return err
	}
	for {
		challenge, more, refused, err := p.challenge()
		switch {
		case err != nil:
			return err
		case refused != nil:
			if refused.Server == "" {
				refused.Server = p.words(saslExplanation(sc))
			}
			return refused
		case !more && !spoke:
			return failure(ClassProtocol, "auth-out-of-order", nil)
		case !more:
			return nil
		}
		if !first {
			response, err = sc.Next(challenge)
		}
		if err != nil {
			// RFC 5034 §4: "*" cancels the exchange.
			if _, _, _, err := p.ask("*"); err != nil {
				return err
			}
			return failure(ClassProtocol, "sasl-challenge", err)
		}
		first, spoke = false, true
		if err := p.send(base64.StdEncoding.EncodeToString(response)); err != nil {
			return err
		}
	}
}

// challenge reads the server's turn in a SASL exchange: a challenge (more), the
// success, or a refusal.
func (p *POP3) challenge() (challenge []byte, more bool, refused *Error, err error) {
	line, err := p.c.readLine(statusLine)
	if err != nil {
		return nil, false, nil, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if ok, words, known := splitStatus(string(line)); known {
		if !ok {
			return nil, false, p.refusal(words, ClassAuth, refusedOrBusy), nil
		}
		return nil, false, nil, nil
	}
	text, found := bytes.CutPrefix(line, []byte("+"))
	if !found {
		return nil, false, nil, unknownStatus(p.c, string(line))
	}
	text = bytes.TrimSpace(text)
	decoded, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		// QUIRK(several): the challenges of LOGIN come in plain text. None of our
		// mechanisms computes with a challenge, so it is as good.
		decoded = bytes.Clone(text)
	}
	return decoded, true, nil, nil
}
