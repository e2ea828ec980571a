package config

import (
	"hash/crc32"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]{0,15}$`)

// ParseURL reads an account from SCHEME://USER@HOST[:PORT], as
// imaps://taro@example.jp@imap.example.jp:993. The scheme is imaps or pop3s
// (implicit TLS), imap or pop3 (STARTTLS or STLS; on loopback cleartext). The
// last "@" ends the user, who may be percent-encoded (RFC 3986 §2.1) and then
// contain anything but control characters. A path, a query and a password are
// refused; no error repeats any part of the URL that might be a password.
//
// The name of the account is its user, with "@HOST" if that has no "@" and
// "-pop3" for POP3; what a name may not contain becomes "_" and the name then
// ends in a checksum, so that two users never share one. Pull is true. Failures
// are *Error without a file.
func ParseURL(s string) (Account, error) {
	wrong := func(code string, pairs ...any) (Account, error) {
		return Account{}, &Error{Code: code, Args: safe.Args(pairs...)}
	}
	sch, rest, ok := strings.Cut(s, "://")
	if !ok || !scheme.MatchString(sch) || !utf8.ValidString(s) {
		return wrong(CodeURLMalformed)
	}
	sch = strings.ToLower(sch)
	a := Account{Pull: true}
	switch sch {
	case "imap", "imaps":
		a.Protocol = protocolIMAP
	case "pop3", "pop3s":
		a.Protocol = protocolPOP3
	default:
		return wrong(CodeURLScheme, "scheme", sch, "allowed", "imap, imaps, pop3, pop3s")
	}
	at := strings.LastIndexByte(rest, '@')
	if at <= 0 {
		return wrong(CodeURLUserMissing, "scheme", sch)
	}
	user, authority := rest[:at], rest[at+1:]
	if strings.Contains(user, ":") {
		return wrong(CodePasswordInURL, "scheme", sch)
	}
	// A lone "/" is the empty path of RFC 5092 §4 and harmless.
	authority = strings.TrimSuffix(authority, "/")
	if strings.ContainsAny(user, "/?#") || strings.ContainsAny(authority, "/?#") {
		return wrong(CodeURLPath, "scheme", sch)
	}
	var err error
	if a.User, err = url.PathUnescape(user); err != nil || !utf8.ValidString(a.User) {
		return wrong(CodeURLMalformed)
	}
	if a.Host, a.Port, ok = splitPort(authority); !ok {
		return wrong(CodeURLPort, "scheme", sch)
	}
	switch {
	case strings.HasSuffix(sch, "s"):
		a.Security = securityTLS
	case IsLoopback(a.Host):
		a.Security = securityPlain
	default:
		a.Security = securityStart
	}
	a.Name = urlName(a)
	return Check(a)
}

// splitPort divides HOST, HOST:PORT, [IPv6] and [IPv6]:PORT. The port is 0 if
// it is left out.
func splitPort(authority string) (host string, port int, ok bool) {
	host = authority
	if _, err := netip.ParseAddr(strings.Trim(authority, "[]")); err == nil {
		return authority, 0, true
	}
	i := strings.LastIndexByte(authority, ':')
	if i < 0 {
		return authority, 0, true
	}
	host = authority[:i]
	port, err := strconv.Atoi(authority[i+1:])
	return host, port, err == nil && port >= 1 && port <= 65535
}

func urlName(a Account) string {
	name := a.User
	if !strings.Contains(name, "@") {
		name += "@" + strings.Trim(a.Host, "[]")
	}
	safe := strings.Map(func(r rune) rune {
		if strings.ContainsRune("._@-", r) || r < utf8.RuneSelf && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return r
		}
		return '_'
	}, name)
	if safe[0] == '-' {
		safe = "_" + safe[1:]
	}
	if safe != name {
		safe += "." + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(name))), 16)
	}
	if a.Protocol == protocolPOP3 {
		safe += "-pop3"
	}
	return safe
}
