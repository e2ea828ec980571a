package config

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// label is one part of a host name (RFC 1123 §2.1). The underscore is not
// allowed there, but such names exist in the DNS and resolve.
var label = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?$`)

// IsLoopback says whether host is this computer, so that what is sent there
// crosses no line: "localhost" and names under it (RFC 6761 §6.3), 127.0.0.0/8
// and ::1.
func IsLoopback(host string) bool {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// checkHost returns the host as it is to be dialled, or what is wrong with it.
func checkHost(account, host string) (string, *fault) {
	wrong := func(code string, pairs ...any) (string, *fault) {
		return "", &fault{"host", code, safe.Args(append([]any{"account", account}, pairs...)...)}
	}
	if host == "" {
		return wrong(CodeKeyMissing, "key", "host")
	}
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return ip.String(), nil
	}
	// What a URL or an address may hold before its "@" is never repeated.
	ascii := narrow(host)
	bare := ascii[strings.LastIndexByte(ascii, '@')+1:]
	if i := strings.Index(bare, "://"); i >= 0 {
		bare = bare[i+3:]
	}
	bare = strings.TrimSpace(bare)
	if i := strings.IndexAny(bare, `/\?#`); i >= 0 {
		bare = bare[:i]
	}
	name, port, _ := strings.Cut(bare, ":")
	suggestion := ""
	if isHostName(strings.TrimSuffix(name, ".")) {
		suggestion = strings.TrimSuffix(name, ".")
	}
	switch {
	case strings.Contains(ascii, "://"):
		return wrong(CodeHostHasScheme, "suggestion", suggestion)
	case strings.Contains(ascii, "@"):
		if user, _, _ := strings.Cut(ascii, "@"); strings.Contains(user, ":") {
			host = masked + "@" + bare
		}
		return wrong(CodeHostIsAddress, "host", host)
	case ascii != host:
		return wrong(CodeHostFullWidth, "host", host, "suggestion", suggestion)
	case strings.ContainsFunc(host, unicode.IsSpace):
		return wrong(CodeHostHasBlank, "host", host, "suggestion", suggestion)
	case strings.ContainsAny(host, `/\?#`):
		return wrong(CodeHostHasPath, "host", host, "suggestion", suggestion)
	case strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }):
		return wrong(CodeHostNotASCII, "host", host)
	}
	if n, err := strconv.Atoi(port); err == nil && suggestion != "" {
		return wrong(CodeHostHasPort, "host", host, "suggestion", suggestion, "port", n)
	}
	if !isHostName(host) {
		return wrong(CodeHostInvalid, "host", host, "suggestion", suggestion)
	}
	if first, _, _ := strings.Cut(strings.ToLower(host), "."); first == "smtp" || first == "smtps" {
		return wrong(CodeHostOfSMTP, "host", host)
	}
	return strings.ToLower(host), nil
}

func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if len(part) > 63 || !label.MatchString(part) {
			return false
		}
	}
	// An address with a typing error would be looked up as a name.
	return strings.ContainsFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
}

// narrow replaces the full-width forms of ASCII, which Japanese input methods
// produce, by ASCII: "ｉｍａｐ．" → "imap.". Other text stays as it is.
func narrow(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '。' || r == '｡':
			return '.'
		case r == '\u3000':
			return ' '
		case r >= '！' && r <= '～':
			return r - '！' + '!'
		}
		return r
	}, s)
}
