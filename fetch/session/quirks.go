package session

import "strings"

// A sentence is what some server says instead of a response code. The table may
// only make a refusal milder: nothing is ever called a wrong password because of
// it.
type sentence struct {
	words    string // lower case; a part of the server's line
	class    Class
	reason   string
	imapOnly bool // too general to be believed of a POP3 server, which says -ERR to all and everything
}

var sentences = []sentence{
	// QUIRK(several): the example of RFC 1939 §7 PASS, copied word by word by many servers that have no [IN-USE].
	{"maildrop already locked", ClassBusy, "in-use", false},
	// QUIRK(several): the other wording of RFC 1939 §7 PASS.
	{"unable to lock maildrop", ClassBusy, "in-use", false},
	// QUIRK(cyrus): pop3d without RESP-CODES, by its manual's chapter on known protocol limitations.
	{"mailbox locked by pop server", ClassBusy, "in-use", false},
	// QUIRK(hotmail, outlook.com): too many logins in 15 minutes; seen by users of several clients since 2013.
	{"exceeded the login limit", ClassBusy, "login-delay", false},
	// QUIRK(hotmail): the older wording of the same limit, known to the webOS mail client.
	{"login allowed only every", ClassBusy, "login-delay", false},
	// QUIRK(gmail): too many sessions of one account; answered to the login, by IMAP too.
	{"too many simultaneous connections", ClassBusy, "too-many-sessions", false},
	// QUIRK(dovecot): mail_max_userip_connections; over IMAP with [UNAVAILABLE], over POP3 with [IN-USE] only in later versions.
	{"maximum number of connections from user+ip exceeded", ClassBusy, "too-many-sessions", false},
	// QUIRK(courier, dovecot before 2.2): the limit of sessions of one user or address, as an [ALERT] or without a code.
	{"maximum number of connections", ClassBusy, "too-many-sessions", true},
	// QUIRK(several): the same in other words.
	{"too many connections", ClassBusy, "too-many-sessions", true},
	// QUIRK(exchange): BAD User is authenticated but not connected. It passes when the mailbox's database is back.
	{"authenticated but not connected", ClassBusy, "unavailable", true},
	// QUIRK(gmail): NO/BYE [OVERQUOTA] Account exceeded command or bandwidth limits. It is lifted within a day.
	{"exceeded command or bandwidth limits", ClassBusy, "throttled", true},
	// QUIRK(gmail): the older wording of the same limit.
	{"exceeded bandwidth limits", ClassBusy, "throttled", true},
	// QUIRK(exchange online): Request is throttled. Suggested Backoff Time: … milliseconds
	{"throttled", ClassBusy, "throttled", true},
	// QUIRK(yahoo, aol): NO [LIMIT] LOGIN Rate limit hit.
	{"rate limit", ClassBusy, "throttled", true},
	// QUIRK(gmail, dovecot): Temporary System Error; Temporary authentication failure.
	{"temporary", ClassBusy, "unavailable", true},
	// QUIRK(several): Mailbox is temporarily unavailable.
	{"temporarily", ClassBusy, "unavailable", true},
	// QUIRK(several): Internal error, please try again later.
	{"try again later", ClassBusy, "unavailable", true},
	// QUIRK(exchange): Server Unavailable. 15
	{"server unavailable", ClassBusy, "unavailable", true},
	// QUIRK(coremail): Server busy
	{"server busy", ClassBusy, "unavailable", true},
}

// milder looks the server's words up in the table of sentences.
func milder(words string, imap bool) (Class, string, bool) {
	words = strings.ToLower(words)
	for _, s := range sentences {
		if (imap || !s.imapOnly) && strings.Contains(words, s.words) {
			return s.class, s.reason, true
		}
	}
	return "", "", false
}
