package session

import (
	"testing"

	"github.com/emersion/go-sasl"
)

func TestSASLClient(t *testing.T) {
	t.Parallel()
	s := Server{Host: "mail.example.jp", Port: 995, User: "a=b,c"}
	for _, test := range []struct {
		mech   string
		secret Secret
		ir     string
		turns  [][2]string // challenge, response
		err    string
	}{
		{mech: "PLAIN", secret: Secret{Password: "pw"}, ir: "\x00a=b,c\x00pw"},
		{mech: "LOGIN", secret: Secret{Password: "pw"}, turns: [][2]string{{"Username:", "a=b,c"}, {"Kennwort bitte", "pw"}}},
		{mech: "XOAUTH2", secret: Secret{Token: "tok"}, ir: "user=a=b,c\x01auth=Bearer tok\x01\x01", turns: [][2]string{{`{"status":"401"}`, ""}}},
		{mech: "OAUTHBEARER", secret: Secret{Token: "tok"}, ir: "n,a=a=3Db=2Cc,\x01host=mail.example.jp\x01port=995\x01auth=Bearer tok\x01\x01", turns: [][2]string{{`{"status":"invalid_token"}`, "\x01"}}},
		{mech: "GSSAPI", err: "protocol sasl-mechanism-unknown"},
		{mech: "PLAIN", secret: Secret{Password: "p\x00w"}, err: "auth credential-control-character"},
		{mech: "LOGIN", secret: Secret{Password: "p\r\nDELE 1"}, err: "auth credential-control-character"},
		{mech: "XOAUTH2", secret: Secret{Token: "t\n"}, err: "auth credential-control-character"},
	} {
		c, err := saslClient(test.mech, s, test.secret)
		if reason(err) != test.err {
			t.Errorf("%s: got %v, want %q", test.mech, err, test.err)
		}
		if err != nil {
			continue
		}
		mech, ir, err := c.Start()
		if mech != test.mech || string(ir) != test.ir || err != nil {
			t.Errorf("%s: starts with %s %q, %v", test.mech, mech, ir, err)
		}
		for _, turn := range test.turns {
			got, err := c.Next([]byte(turn[0]))
			if string(got) != turn[1] || got == nil || err != nil {
				t.Errorf("%s: %q answered with %q, %v", test.mech, turn[0], got, err)
			}
		}
		if _, err := c.Next(nil); err != sasl.ErrUnexpectedServerChallenge {
			t.Errorf("%s: one challenge too many: %v", test.mech, err)
		}
	}
}
