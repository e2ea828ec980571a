package session

import (
	"strings"

	"github.com/emersion/go-sasl"
)

// checkCredentials refuses what no line protocol can carry: a CR or LF in a
// credential would be a second command.
func checkCredentials(s Server, secret Secret) error {
	for _, v := range []string{s.User, secret.Password, secret.Token} {
		if strings.ContainsAny(v, "\r\n\x00") {
			return failure(ClassAuth, "credential-control-character", nil)
		}
	}
	return nil
}

// saslClient returns the client side of the mechanism mech: "PLAIN" and
// "LOGIN" for a password, "XOAUTH2" and "OAUTHBEARER" for a token. An unknown
// mechanism, and credentials with CR, LF or NUL, are an *Error.
func saslClient(mech string, s Server, secret Secret) (sasl.Client, error) {
	if err := checkCredentials(s, secret); err != nil {
		return nil, err
	}
	switch mech {
	case sasl.Plain:
		return sasl.NewPlainClient("", s.User, secret.Password), nil
	case sasl.Login:
		return &loginClient{user: s.User, password: secret.Password}, nil
	case "XOAUTH2":
		ir := "user=" + s.User + "\x01auth=Bearer " + secret.Token + "\x01\x01"
		return &bearerClient{mech: mech, ir: ir}, nil
	case sasl.OAuthBearer:
		_, ir, err := sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{
			Username: saslName(s.User),
			Token:    secret.Token,
			Host:     s.Host,
			Port:     s.Port,
		}).Start()
		if err != nil {
			return nil, failure(ClassLocal, "sasl-failed", err)
		}
		// RFC 7628 §3.2.3: the client answers an error with %x01, and only then
		// the server ends the exchange.
		return &bearerClient{mech: mech, ir: string(ir), farewell: "\x01"}, nil
	}
	return nil, failure(ClassProtocol, "sasl-mechanism-unknown", nil)
}

// saslName escapes a name for a GS2 header (RFC 5801 §4).
func saslName(s string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s)
}

// loginClient speaks LOGIN. The mechanism has no standard, so the wording of
// the two challenges is not looked at: the first asks for the name, the second
// for the password, and there is no third.
type loginClient struct {
	user, password string
	asked          int
}

func (l *loginClient) Start() (mech string, ir []byte, err error) { return sasl.Login, nil, nil }

func (l *loginClient) Next([]byte) ([]byte, error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte(l.user), nil
	case 2:
		return []byte(l.password), nil
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}

// bearerClient speaks XOAUTH2 and OAUTHBEARER, which differ in their octets
// only: everything is in the initial response, and a challenge is the server's
// explanation of why the token is no good.
type bearerClient struct {
	mech, ir, farewell string
	explanation        []byte
}

func (b *bearerClient) Start() (mech string, ir []byte, err error) {
	return b.mech, []byte(b.ir), nil
}

func (b *bearerClient) Next(challenge []byte) ([]byte, error) {
	if b.explanation != nil {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	b.explanation = append([]byte{}, challenge...)
	return []byte(b.farewell), nil
}

// saslExplanation returns what the server said in the course of the mechanism
// about its refusal (JSON, for tokens), or "".
func saslExplanation(c sasl.Client) string {
	if b, ok := c.(*bearerClient); ok {
		return string(b.explanation)
	}
	return ""
}
