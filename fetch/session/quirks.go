package session

import "strings"

// A sentence is what some server says instead of a response code. The table may
// only make a refusal milder: nothing is ever called a wrong password because of
// it.
type sentence struct {
	words  string // lower case; a part of the server's line
	class  Class
	reason string
}

var sentences = []sentence{
	// QUIRK(several): the example of RFC 1939 §7 PASS, copied word by word by many servers that have no [IN-USE].
	{"maildrop already locked", ClassBusy, "in-use"},
	// QUIRK(several): the other wording of RFC 1939 §7 PASS.
	{"unable to lock maildrop", ClassBusy, "in-use"},
	// QUIRK(cyrus): pop3d without RESP-CODES, by its manual's chapter on known protocol limitations.
	{"mailbox locked by pop server", ClassBusy, "in-use"},
	// QUIRK(hotmail, outlook.com): too many logins in 15 minutes; seen by users of several clients since 2013.
	{"exceeded the login limit", ClassBusy, "login-delay"},
	// QUIRK(hotmail): the older wording of the same limit, known to the webOS mail client.
	{"login allowed only every", ClassBusy, "login-delay"},
	// QUIRK(gmail): too many sessions of one account; answered to the login, by IMAP too.
	{"too many simultaneous connections", ClassBusy, "too-many-sessions"},
	// QUIRK(dovecot): mail_max_userip_connections; over IMAP with [UNAVAILABLE], over POP3 with [IN-USE] only in later versions.
	{"maximum number of connections from user+ip exceeded", ClassBusy, "too-many-sessions"},
}

// milder looks the server's words up in the table of sentences.
func milder(words string) (Class, string, bool) {
	words = strings.ToLower(words)
	for _, s := range sentences {
		if strings.Contains(words, s.words) {
			return s.class, s.reason, true
		}
	}
	return "", "", false
}
