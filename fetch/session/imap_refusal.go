package session

import "strings"

// A refusal is a NO, BAD or BYE of an IMAP server, with its response code in
// upper case and its text.
type refusal struct {
	kind, code, text string
}

// codeClasses says what response codes mean (RFC 5530 §3, RFC 9051 §7.1).
var codeClasses = map[string]struct {
	class  Class
	reason string
}{
	"UNAVAILABLE":          {ClassBusy, "unavailable"},
	"INUSE":                {ClassBusy, "in-use"},
	"LIMIT":                {ClassBusy, "limit"},
	"THROTTLED":            {ClassBusy, "throttled"}, // QUIRK(gmail): not registered
	"OVERQUOTA":            {ClassQuota, "over-quota"},
	"NONEXISTENT":          {ClassMissing, "nonexistent"},
	"TRYCREATE":            {ClassMissing, "nonexistent"},
	"AUTHENTICATIONFAILED": {ClassAuth, "login-refused"},
	"AUTHORIZATIONFAILED":  {ClassAuth, "login-refused"},
	"EXPIRED":              {ClassAuth, "login-expired"},
	"WEBALERT":             {ClassAuth, "login-web"}, // QUIRK(gmail): the user has to log in by browser
	"CONTACTADMIN":         {ClassRefused, "contact-admin"},
	"PRIVACYREQUIRED":      {ClassPolicy, "privacy-required"},
}

// meaning returns what the refusal means by the server's sentence, else by its
// response code, else fallback. The sentence comes first because it may only
// make it milder: QUIRK(gmail): [OVERQUOTA] is also said of bandwidth.
func (r refusal) meaning(fallback Class, reason string) (Class, string) {
	if class, why, ok := milder(r.text, true); ok {
		return class, why
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
