package config

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

var (
	accountName = regexp.MustCompile(`^[A-Za-z0-9._@][A-Za-z0-9._@-]*$`)
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// specialUse lists the names of RFC 6154 §2 in the spelling that Exclude has.
var specialUse = []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

// Words that mail programs and users write for our values.
var valueSynonyms = map[string]map[string]string{
	"protocol": {"pop": protocolPOP3, "imap4": protocolIMAP, "imap4rev1": protocolIMAP, "imaps": protocolIMAP, "pop3s": protocolPOP3},
	"security": {"ssl": securityTLS, "ssl/tls": securityTLS, "implicit": securityTLS, "imaps": securityTLS, "pop3s": securityTLS,
		"yes": securityTLS, "stls": securityStart, "start-tls": securityStart, "none": securityPlain, "plain": securityPlain,
		"no": securityPlain, "off": securityPlain},
	"format":  {"mboxrd": formatMbox, "mail-dir": formatMaildir},
	"exclude": {`\spam`: `\Junk`, `\deleted`: `\Trash`, `\bin`: `\Trash`, `\draft`: `\Drafts`},
}

// Check says whether an account that did not come from a file is possible,
// before anything is tried on the network, and returns it with its defaults
// (port, security) filled in. Failures are *Error without a file. It does not
// look at Master, which only means something among other accounts.
func Check(a Account) (Account, error) {
	a, f := complete(a)
	if f != nil {
		return a, &Error{Code: f.code, Args: f.args}
	}
	return a, nil
}

// complete fills in the defaults of a and returns its first fault.
func complete(a Account) (Account, *fault) {
	wrong := func(key, code string, pairs ...any) *fault {
		return &fault{key, code, safe.Args(append([]any{"account", a.Name}, pairs...)...)}
	}
	if a.Name == "" {
		return a, wrong("name", CodeKeyMissing, "key", "name")
	}
	if !accountName.MatchString(a.Name) || strings.Trim(a.Name, ".") == "" {
		return a, wrong("name", CodeNameInvalid, "name", a.Name)
	}
	if a.Protocol == "" {
		return a, wrong("protocol", CodeKeyMissing, "key", "protocol")
	}
	if f := checkWord(a.Name, "protocol", a.Protocol, protocolIMAP, protocolPOP3); f != nil {
		return a, f
	}
	host, f := checkHost(a.Name, a.Host)
	if f != nil {
		return a, f
	}
	a.Host = host
	if a.Security == "" {
		a.Security = securityTLS
	}
	if f := checkWord(a.Name, "security", a.Security, securityTLS, securityStart, securityPlain); f != nil {
		return a, f
	}
	if a.Port == 0 {
		a.Port = usualPort(a.Protocol, a.Security)
	}
	if f := checkPort(a); f != nil {
		return a, f
	}
	if a.Security == securityPlain && strings.TrimSpace(a.CleartextReason) == "" && !IsLoopback(a.Host) {
		return a, wrong("security", CodeCleartext, "host", a.Host)
	}
	if f := checkUser(a); f != nil {
		return a, f
	}
	if f := checkSources(a); f != nil {
		return a, f
	}
	for _, x := range a.Exclude {
		if x == "" {
			return a, wrong("exclude", CodeValueEmpty, "key", "exclude")
		}
		if strings.HasPrefix(x, `\`) {
			if f := checkWord(a.Name, "exclude", x, specialUse...); f != nil {
				return a, f
			}
		}
	}
	return a, nil
}

// checkWord reports a value that is none of the allowed words.
func checkWord(account, key, value string, allowed ...string) *fault {
	if slices.Contains(allowed, value) {
		return nil
	}
	word := strings.ToLower(strings.TrimSpace(value))
	suggestion := valueSynonyms[key][word]
	if suggestion == "" {
		suggestion = nearest(word, allowed)
	}
	return &fault{key, CodeValueUnknown, safe.Args("account", account, "key", key, "value", value,
		"suggestion", suggestion, "allowed", strings.Join(allowed, ", "))}
}

func usualPort(protocol, security string) int {
	switch {
	case protocol == protocolIMAP && security == securityTLS:
		return 993
	case protocol == protocolIMAP:
		return 143
	case security == securityTLS:
		return 995
	}
	return 110
}

// checkPort reports ports that cannot be right. A port that no standard gives
// to anybody is the user's business.
func checkPort(a Account) *fault {
	if a.Port < 1 || a.Port > 65535 {
		return &fault{"port", CodeOutOfRange, safe.Args("account", a.Name, "key", "port", "value", a.Port, "min", 1, "max", 65535)}
	}
	other, security := "", ""
	switch a.Port {
	case 25, 465, 587, 2525:
		other = "smtp"
	case 80, 443:
		other = "web"
	case 143:
		other, security = protocolIMAP, securityStart
	case 993:
		other, security = protocolIMAP, securityTLS
	case 110:
		other, security = protocolPOP3, securityStart
	case 995:
		other, security = protocolPOP3, securityTLS
	default:
		return nil
	}
	want := usualPort(a.Protocol, a.Security)
	if other != a.Protocol {
		return &fault{"port", CodePortOfOtherProtocol, safe.Args("account", a.Name, "host", a.Host, "port", a.Port,
			"protocol", a.Protocol, "other", other, "want", want)}
	}
	if (security == securityTLS) != (a.Security == securityTLS) {
		return &fault{"port", CodePortSecurityMismatch, safe.Args("account", a.Name, "host", a.Host, "port", a.Port,
			"security", a.Security, "want_port", want, "want_security", security)}
	}
	return nil
}

// checkUser reports user names that no server can mean.
func checkUser(a Account) *fault {
	if a.User == "" {
		return &fault{"user", CodeKeyMissing, safe.Args("account", a.Name, "key", "user")}
	}
	// A line end in a user name would be a command of its own to the server.
	if strings.ContainsFunc(a.User, unicode.IsControl) {
		return &fault{"user", CodeUserControl, safe.Args("account", a.Name)}
	}
	if trimmed := strings.TrimSpace(a.User); trimmed != a.User {
		return &fault{"user", CodeUserBlank, safe.Args("account", a.Name, "user", a.User, "suggestion", trimmed)}
	}
	if n := narrow(a.User); n != a.User {
		return &fault{"user", CodeUserFullWidth, safe.Args("account", a.Name, "user", a.User, "suggestion", n)}
	}
	return nil
}

// checkSources reports password sources that are several or impossible.
func checkSources(a Account) *fault {
	var set []string
	if a.PasswordCommand != nil {
		set = append(set, "password_command")
	}
	if a.PasswordFile != "" {
		set = append(set, "password_file")
	}
	if a.PasswordEnv != "" {
		set = append(set, "password_env")
	}
	if len(set) > 1 {
		return &fault{set[1], CodeSeveralPasswords, safe.Args("account", a.Name, "key", set[1], "other", set[0])}
	}
	if a.PasswordCommand != nil && (len(a.PasswordCommand) == 0 || strings.TrimSpace(a.PasswordCommand[0]) == "") {
		return &fault{"password_command", CodeValueEmpty, safe.Args("account", a.Name, "key", "password_command")}
	}
	for _, arg := range a.PasswordCommand {
		if strings.ContainsRune(arg, 0) {
			return &fault{"password_command", CodeValueEmpty, safe.Args("account", a.Name, "key", "password_command")}
		}
	}
	if a.PasswordEnv != "" && !envName.MatchString(a.PasswordEnv) {
		return &fault{"password_env", CodeEnvNameInvalid, safe.Args("account", a.Name, "key", "password_env")}
	}
	return nil
}
