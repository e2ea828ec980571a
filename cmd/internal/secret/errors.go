package secret

import (
	"fmt"
	"slices"
)

// An Error says why there is no password, under which code. It holds no
// sentence for a user: package phrase makes that from Code and Args. No part of
// it ever comes from a password or from what a password command printed.
type Error struct {
	Code string         // one of Codes
	Args map[string]any // strings and ints; see the comment at each code
	Err  error          // the cause; may be nil
}

func (e *Error) Error() string {
	s := e.Code
	keys := make([]string, 0, len(e.Args))
	for key := range e.Args {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if v := fmt.Sprint(e.Args[key]); v != "" {
			s += fmt.Sprintf(" %s=%q", key, v)
		}
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// The codes of Error, with the Args of each beside `account`, the account's
// name, which all but CodeRefusals have. `source` is "password_command",
// "password_file", "password_env", "keyring" or "prompt".
const (
	CodeCommandNotFound    = "command-not-found"       // command: the program
	CodeCommandFailed      = "command-failed"          // command; status: the exit status, -1 if it was killed. It said why on standard error
	CodeFileMissing        = "file-missing"            // path
	CodeFileUnreadable     = "file-unreadable"         // path
	CodeFileIrregular      = "file-irregular"          // path: not an ordinary file
	CodeFilePermissions    = "file-permissions"        // path; mode, as "0644": others than its owner may read it
	CodeFileOwner          = "file-owner"              // path: it belongs to another user
	CodeEnvUnset           = "env-unset"               // variable: its name, "" if that looks like a password
	CodeEmpty              = "secret-empty"            // source: its first line is empty
	CodeTooLong            = "secret-too-long"         // source, limit: in octets
	CodeControl            = "secret-control"          // source: NUL, CR or LF in it
	CodeNone               = "no-secret"               // nothing is configured or stored, and nobody can be asked
	CodeKeyringUnavailable = "keyring-unavailable"     // this system has no keyring, or it cannot be opened
	CodeKeyringTooBig      = "keyring-secret-too-long" // the keyring does not take a secret of this length
	CodeNotATerminal       = "not-a-terminal"          // a password was to be typed, but nobody is there; account is ""
	CodePrompt             = "prompt-failed"           // reading from the terminal failed or ended; account may be ""
	CodeCancelled          = "cancelled"               // the context ended; Err has its cause; account may be ""
	CodeRefusals           = "refusals-unusable"       // path: what is remembered of refused logins cannot be read or written
)

// Codes lists every code, so that a test can demand a sentence for each.
var Codes = []string{CodeCommandNotFound, CodeCommandFailed, CodeFileMissing, CodeFileUnreadable, CodeFileIrregular,
	CodeFilePermissions, CodeFileOwner, CodeEnvUnset, CodeEmpty, CodeTooLong, CodeControl, CodeNone,
	CodeKeyringUnavailable, CodeKeyringTooBig, CodeNotATerminal, CodePrompt, CodeCancelled, CodeRefusals}
