package session

import "strings"

// A refusal is a NO, BAD or BYE of an IMAP server, with its response code in
// upper case and its text.
type refusal struct {
	kind, code, text string
}

// imapSentences goes on where sentences ends, for IMAP.
var imapSentences = []sentence{
	// QUIRK(courier, dovecot before 2.2): the limit of sessions of one user or address, as an [ALERT] or without a code.
	{"maximum number of connections", ClassBusy, "too-many-sessions"},
	{"too many connections", ClassBusy, "too-many-sessions"},
	// QUIRK(exchange): BAD User is authenticated but not connected. It passes when the mailbox's database is back.
	{"authenticated but not connected", ClassBusy, "unavailable"},
	// QUIRK(gmail): NO/BYE [OVERQUOTA] Account exceeded command or bandwidth limits. It is lifted within a day.
	{"exceeded command or bandwidth limits", ClassBusy, "throttled"},
	{"exceeded bandwidth limits", ClassBusy, "throttled"},
	// QUIRK(exchange online): Request is throttled. Suggested Backoff Time: … milliseconds
	{"throttled", ClassBusy, "throttled"},
	// QUIRK(yahoo, aol): NO [LIMIT] LOGIN Rate limit hit.
	{"rate limit", ClassBusy, "throttled"},
	// QUIRK(gmail, dovecot): Temporary System Error; Temporary authentication failure.
	{"temporary", ClassBusy, "unavailable"},
	{"temporarily", ClassBusy, "unavailable"},
	{"try again later", ClassBusy, "unavailable"},
	// QUIRK(exchange, coremail): Server Unavailable; Server busy
	{"server unavailable", ClassBusy, "unavailable"},
	{"server busy", ClassBusy, "unavailable"},
}

// codeClasses says what response codes mean (RFC 5530 §3, RFC 9051 §7.1).
var codeClasses = map[string]sentence{
	"UNAVAILABLE":          {class: ClassBusy, reason: "unavailable"},
	"INUSE":                {class: ClassBusy, reason: "in-use"},
	"LIMIT":                {class: ClassBusy, reason: "limit"},
	"THROTTLED":            {class: ClassBusy, reason: "throttled"}, // QUIRK(gmail): not registered
	"OVERQUOTA":            {class: ClassQuota, reason: "over-quota"},
	"NONEXISTENT":          {class: ClassMissing, reason: "nonexistent"},
	"TRYCREATE":            {class: ClassMissing, reason: "nonexistent"},
	"AUTHENTICATIONFAILED": {class: ClassAuth, reason: "login-refused"},
	"AUTHORIZATIONFAILED":  {class: ClassAuth, reason: "login-refused"},
	"EXPIRED":              {class: ClassAuth, reason: "login-expired"},
	"WEBALERT":             {class: ClassAuth, reason: "login-web"}, // QUIRK(gmail): the user has to log in by browser
	"CONTACTADMIN":         {class: ClassRefused, reason: "contact-admin"},
	"PRIVACYREQUIRED":      {class: ClassPolicy, reason: "privacy-required"},
}

// meaning returns what the refusal means by the server's sentence, else by its
// response code, else fallback. The sentence comes first because it may only
// make it milder: QUIRK(gmail): [OVERQUOTA] is also said of bandwidth.
func (r refusal) meaning(fallback Class, reason string) (Class, string) {
	if class, why, ok := milder(r.text); ok {
		return class, why
	}
	words := strings.ToLower(r.text)
	for _, s := range imapSentences {
		if strings.Contains(words, s.words) {
			return s.class, s.reason
		}
	}
	if c, ok := codeClasses[r.code]; ok {
		return c.class, c.reason
	}
	return fallback, reason
}

// err returns the refusal as an Error of the given reach; what is temporary
// reaches the account, because the other mailboxes would fare no better.
func (r refusal) err(class Class, reach Reach, reason string) *Error {
	e := &Error{Class: class, Reach: reach, Reason: reason, Server: r.text}
	if class == ClassBusy {
		e.Temporary, e.Reach = true, ReachAccount
	}
	if r.code != "" {
		e.Server = strings.TrimRight("["+r.code+"] "+r.text, " ")
	}
	return e
}

// loginRefusal is the Error for a NO, BAD or BYE in answer to a login. Whatever
// is not known to be temporary counts as a refusal of the credentials, so that it
// is not tried again; a BYE that does not say why counts as temporary.
func loginRefusal(r refusal) *Error {
	if r.kind == "BYE" {
		class, reason := r.meaning(ClassBusy, "bye")
		return r.err(class, ReachAccount, reason)
	}
	class, reason := r.meaning(ClassAuth, "login-refused")
	switch class {
	case ClassBusy, ClassPolicy, ClassAuth:
	default:
		class = ClassAuth
	}
	return r.err(class, ReachAccount, reason)
}
