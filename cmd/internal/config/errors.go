package config

import (
	"fmt"
	"slices"
	"strings"
)

// An Error says what is wrong in a configuration, where, and under which code.
// It holds no sentence for a user: package phrase makes that from Code and
// Args. All values in Args are strings or ints; text that came from the user
// is bounded and free of control characters, and is never a password.
//
// Error works with errors.As; use that or Code to tell failures apart.
type Error struct {
	File    string         // the file as it was named to Load or Parse; "" for a URL or a value
	Line    int            // 1-based; 0 if no line is to blame
	Column  int            // 1-based, in characters of the line; 0 if no place is to blame
	Excerpt string         // the offending line, passwords masked by "…"; may be ""
	Code    string         // one of Codes
	Args    map[string]any // what the sentence needs; see the comment at each code
	Err     error          // the cause; may be nil
}

func (e *Error) Error() string {
	var s strings.Builder
	if e.File != "" {
		s.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&s, ":%d:%d", e.Line, e.Column)
		}
		s.WriteString(": ")
	}
	s.WriteString(e.Code)
	keys := make([]string, 0, len(e.Args))
	for key := range e.Args {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if v := fmt.Sprint(e.Args[key]); v != "" {
			fmt.Fprintf(&s, " %s=%q", key, v)
		}
	}
	if e.Err != nil {
		s.WriteString(": ")
		s.WriteString(e.Err.Error())
	}
	return s.String()
}

func (e *Error) Unwrap() error { return e.Err }

// The codes of Error, with the Args of each. Where an argument may be absent
// it is "" (or 0), never left out. Every code that is about an account also
// has `account`, its name, "" as long as it has none.
const (
	// The file as a whole.
	CodeFileMissing    = "file-missing"     // path
	CodeFileUnreadable = "file-unreadable"  // path
	CodeFileTooLarge   = "file-too-large"   // path, limit: in octets
	CodeNotUTF8        = "not-utf8"         // encoding: "utf-16" or "" if unknown (most likely Shift_JIS)
	CodeSyntax         = "syntax"           // no arguments; Err has the parser's English words
	CodeBackslash      = "backslash"        // suggestion: the path with / for \, may be ""
	CodeDuplicateKey   = "duplicate-key"    // key; first: the line where it stood before
	CodeUnknownKey     = "unknown-key"      // key; table: "" is the top; suggestion: a known key, may be ""; belongs: the table that knows this key, may be ""
	CodePasswordInFile = "password-in-file" // key
	CodeWrongType      = "wrong-type"       // key; want and have: one of "string", "integer", "boolean", "array-of-strings", "table", "array-of-tables", "string-or-false", "float", "date", "array", "integer-too-large"
	CodeSingleBrackets = "single-brackets"  // key: [account] was written for [[account]]
	CodeVersionNewer   = "version-newer"    // version; known: the highest this program reads

	// Values anywhere.
	CodeOutOfRange    = "out-of-range"    // account, key, value, min, max
	CodeValueUnknown  = "value-unknown"   // account, key, value; suggestion, may be ""; allowed: all values, separated by ", "
	CodeValueEmpty    = "value-empty"     // account, key
	CodeKeyMissing    = "key-missing"     // account, key
	CodePathOfWindows = "path-of-windows" // account, key, path: a path with a drive letter, but this is not Windows

	// Accounts.
	CodeNameInvalid          = "name-invalid"           // account, name
	CodeNameTwice            = "name-twice"             // account, name; first: the line of the other account
	CodeHostIsAddress        = "host-is-address"        // account, host
	CodeHostHasScheme        = "host-has-scheme"        // account; suggestion, may be ""
	CodeHostHasPath          = "host-has-path"          // account, host; suggestion, may be ""
	CodeHostHasBlank         = "host-has-blank"         // account, host; suggestion, may be ""
	CodeHostHasPort          = "host-has-port"          // account, host; suggestion; port
	CodeHostFullWidth        = "host-full-width"        // account, host; suggestion, may be ""
	CodeHostNotASCII         = "host-not-ascii"         // account, host: a person's name, or an internationalised name (write it as xn--…)
	CodeHostOfSMTP           = "host-of-smtp"           // account, host: the sending server
	CodeHostInvalid          = "host-invalid"           // account, host; suggestion, may be ""
	CodePortOfOtherProtocol  = "port-of-other-protocol" // account, host, port, protocol; other: "smtp", "web", "pop3" or "imap"; want: the usual port
	CodePortSecurityMismatch = "port-security-mismatch" // account, host, port, security; want_port: for that security; want_security: for that port
	CodeCleartext            = "cleartext-refused"      // account, host: cleartext off loopback without cleartext_reason
	CodeSeveralPasswords     = "several-passwords"      // account, key, other: two sources of one password
	CodeEnvNameInvalid       = "env-name-invalid"       // account, key: most likely the password itself was written there
	CodeUserControl          = "user-control-character" // account
	CodeUserBlank            = "user-has-blank"         // account, user; suggestion
	CodeUserFullWidth        = "user-full-width"        // account, user; suggestion
	CodeMasterUnknown        = "master-unknown"         // account, master; suggestion, may be ""
	CodeMasterIsPOP3         = "master-is-pop3"         // account, master
	CodeMasterCycle          = "master-cycle"           // account; cycle: the names, separated by " → "
	CodeAccountUnknown       = "account-unknown"        // account, name: none is called so and none matches; suggestion, may be ""

	// ParseURL.
	CodeURLMalformed   = "url-malformed"    // no arguments: not SCHEME://USER@HOST, or a bad %-sequence
	CodeURLScheme      = "url-scheme"       // scheme; allowed
	CodeURLUserMissing = "url-user-missing" // scheme
	CodeURLPath        = "url-has-path"     // scheme
	CodeURLPort        = "url-port"         // scheme
	CodePasswordInURL  = "password-in-url"  // scheme

	// DefaultPath and StateDir.
	CodeNoHome = "no-home" // variable: what is not set
)

// Codes lists every code, so that a test can demand a sentence for each.
var Codes = []string{
	CodeFileMissing, CodeFileUnreadable, CodeFileTooLarge, CodeNotUTF8, CodeSyntax, CodeBackslash, CodeDuplicateKey,
	CodeUnknownKey, CodePasswordInFile, CodeWrongType, CodeSingleBrackets, CodeVersionNewer,
	CodeOutOfRange, CodeValueUnknown, CodeValueEmpty, CodeKeyMissing, CodePathOfWindows,
	CodeNameInvalid, CodeNameTwice, CodeHostIsAddress, CodeHostHasScheme, CodeHostHasPath, CodeHostHasBlank,
	CodeHostHasPort, CodeHostFullWidth, CodeHostNotASCII, CodeHostOfSMTP, CodeHostInvalid, CodePortOfOtherProtocol,
	CodePortSecurityMismatch, CodeCleartext, CodeSeveralPasswords, CodeEnvNameInvalid, CodeUserControl, CodeUserBlank,
	CodeUserFullWidth, CodeMasterUnknown, CodeMasterIsPOP3, CodeMasterCycle, CodeAccountUnknown,
	CodeURLMalformed, CodeURLScheme, CodeURLUserMissing, CodeURLPath, CodeURLPort, CodePasswordInURL,
	CodeNoHome,
}

// A fault is an Error that does not know its place yet: key is the account key
// to blame.
type fault struct {
	key  string
	code string
	args map[string]any
}

// nearest returns the candidate that word most likely was meant to be, or "".
func nearest(word string, candidates []string) string {
	w := []rune(strings.ToLower(word))
	if len(w) == 0 || len(w) > 64 {
		return ""
	}
	best, bestDistance := "", 3
	for _, c := range candidates {
		d := distance(w, []rune(strings.ToLower(c)))
		if d < bestDistance && d <= max(1, len(c)/3) && d < len(c) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a.
func distance(a, b []rune) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
