// Package secret finds the password of an account, and remembers which one a
// server refused.
//
// A password comes from exactly one place: the command, file or environment
// variable that the configuration names, else the keyring of the system, else
// a person at the terminal. A named place that fails is an error and never
// passes on to the next, since a forgotten password and a wrong one must not
// look alike. The password is the first line without its line end; blanks are
// part of it.
//
// Nothing here writes a password anywhere but into the keyring (Store), and no
// error or file shows one. Refusals keeps a keyed hash of a refused password,
// so that no scheduled run tries it a second time and gets the account locked.
//
// The package does not log in, and it does not write the sentences a user
// reads (package phrase does, from Error.Code and Error.Args).
package secret

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// maxOctets bounds a secret: OAuth refresh tokens have some two thousand.
const maxOctets = 16 << 10

// The places a secret may come from, as Args name them.
const (
	sourceCommand = "password_command"
	sourceFile    = "password_file"
	sourceEnv     = "password_env"
	sourceKeyring = "keyring"
	sourcePrompt  = "prompt"
)

// An Account says whose password is wanted and where the configuration says it
// is: at most one of Command, File and Env.
type Account struct {
	Name, Protocol, Host, User string

	Command []string // program and arguments, run without a shell
	File    string   // absolute path
	Env     string   // the name of an environment variable
}

// ID names the login for keyring and Refusals: "imap://taro@imap.example.jp".
// It does not change when the account gets another name.
func (a Account) ID() string {
	return a.Protocol + "://" + a.User + "@" + strings.ToLower(a.Host)
}

// A Prompt asks a person for the password of an account, in words of its own,
// and returns what was typed. Terminal makes most of one.
type Prompt func(ctx context.Context, a Account) (string, error)

// For returns the password of a. prompt is nil if nobody can be asked. The
// command's standard error is this program's; it ends when ctx does. All
// failures are *Error. For may be called concurrently.
func For(ctx context.Context, a Account, prompt Prompt) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", cancelled(ctx, a.Name)
	}
	switch {
	case len(a.Command) > 0:
		return fromCommand(ctx, a)
	case a.File != "":
		return fromFile(a)
	case a.Env != "":
		return fromEnv(a)
	}
	text, ringErr := fromKeyring(ctx, a, prompt == nil)
	switch {
	case ringErr == nil:
		return accept(a, sourceKeyring, text)
	case ctx.Err() != nil:
		return "", cancelled(ctx, a.Name)
	case prompt == nil && errors.Is(ringErr, errNotInKeyring):
		return "", &Error{Code: CodeNone, Args: safe.Args("account", a.Name)}
	case prompt == nil:
		return "", &Error{Code: CodeKeyringUnavailable, Args: safe.Args("account", a.Name), Err: ringErr}
	}
	text, err := prompt(ctx, a)
	var e *Error
	switch {
	case err == nil:
		return accept(a, sourcePrompt, text)
	case ctx.Err() != nil:
		return "", cancelled(ctx, a.Name)
	case errors.As(err, &e):
		known := *e
		known.Args = maps.Clone(e.Args)
		if known.Args == nil {
			known.Args = safe.Args()
		}
		known.Args["account"] = safe.Text(a.Name, 200) // Terminal does not know it
		return "", &known
	}
	return "", &Error{Code: CodePrompt, Args: safe.Args("account", a.Name), Err: err}
}

func cancelled(ctx context.Context, account string) *Error {
	return &Error{Code: CodeCancelled, Args: safe.Args("account", account), Err: context.Cause(ctx)}
}

// accept returns secret if a server can take it.
func accept(a Account, source, secret string) (string, error) {
	switch {
	case secret == "":
		return "", &Error{Code: CodeEmpty, Args: safe.Args("account", a.Name, "source", source)}
	case len(secret) > maxOctets:
		return "", &Error{Code: CodeTooLong, Args: safe.Args("account", a.Name, "source", source, "limit", maxOctets)}
	case strings.ContainsAny(secret, "\x00\r\n"):
		// A line end in USER, PASS or LOGIN would begin a command of its own.
		return "", &Error{Code: CodeControl, Args: safe.Args("account", a.Name, "source", source)}
	}
	return secret, nil
}

// firstLine returns octets up to the first line end, LF or CRLF.
func firstLine(octets []byte) string {
	line, _, _ := bytes.Cut(octets, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
}

var errTooLong = errors.New("more than a secret can have")

// A bounded writer takes some times maxOctets, for the lines after the first, and
// then fails, which ends the
// command that writes to it.
type bounded struct {
	octets []byte
	full   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.octets)+len(p) > 4*maxOctets {
		b.full = true
		return 0, errTooLong
	}
	b.octets = append(b.octets, p...)
	return len(p), nil
}

func fromCommand(ctx context.Context, a Account) (string, error) {
	program := a.Command[0]
	cmd := exec.CommandContext(ctx, program, a.Command[1:]...)
	var out bounded
	cmd.Stdout = &out
	cmd.Stderr = os.Stderr
	// A child of the command that keeps the pipe open must not hold us up.
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return "", cancelled(ctx, a.Name)
		}
		return "", &Error{Code: CodeCommandNotFound, Args: safe.Args("account", a.Name, "command", program), Err: startCause(err)}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", cancelled(ctx, a.Name)
	case out.full: // before err, which says that it died of our closing the pipe
		return "", &Error{Code: CodeTooLong, Args: safe.Args("account", a.Name, "source", sourceCommand, "limit", maxOctets)}
	case errors.As(err, &exit):
		return "", &Error{Code: CodeCommandFailed, Args: safe.Args("account", a.Name, "command", program, "status", exit.ExitCode())}
	case errors.Is(err, exec.ErrWaitDelay):
		// It ended well; only a process it left behind holds on to the pipe.
	case err != nil:
		return "", &Error{Code: CodeCommandFailed, Args: safe.Args("account", a.Name, "command", program, "status", -1), Err: err}
	}
	return accept(a, sourceCommand, firstLine(out.octets))
}

// startCause drops everything from the error that names arguments.
func startCause(err error) error {
	var (
		execErr *exec.Error
		pathErr *fs.PathError
	)
	if errors.As(err, &execErr) {
		return execErr.Err
	}
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

func fromFile(a Account) (string, error) {
	wrong := func(code string, err error, pairs ...any) (string, error) {
		return "", &Error{Code: code, Args: safe.Args(append([]any{"account", a.Name, "path", a.File}, pairs...)...), Err: err}
	}
	f, err := openWithoutWaiting(a.File)
	if errors.Is(err, fs.ErrNotExist) {
		return wrong(CodeFileMissing, startCause(err))
	} else if err != nil {
		return wrong(CodeFileUnreadable, startCause(err))
	}
	defer f.Close()
	// The open file is asked, not its name: the name may mean another by now.
	st, err := f.Stat()
	if err != nil {
		return wrong(CodeFileUnreadable, startCause(err))
	}
	if !st.Mode().IsRegular() {
		return wrong(CodeFileIrregular, nil)
	}
	switch ownerOnly(st) {
	case CodeFileOwner:
		return wrong(CodeFileOwner, nil)
	case CodeFilePermissions:
		return wrong(CodeFilePermissions, nil, "mode", octal(st.Mode()))
	}
	octets, err := io.ReadAll(io.LimitReader(f, maxOctets+1))
	if err != nil {
		return wrong(CodeFileUnreadable, startCause(err))
	}
	// Notepad puts a byte order mark in front of UTF-8.
	return accept(a, sourceFile, firstLine(bytes.TrimPrefix(octets, []byte("\xef\xbb\xbf"))))
}

// usualEnv is how variables are named. A password that was written in the
// place of such a name hardly ever looks like one.
var usualEnv = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

func fromEnv(a Account) (string, error) {
	text, ok := os.LookupEnv(a.Env)
	if !ok {
		name := a.Env
		if !usualEnv.MatchString(name) {
			name = ""
		}
		return "", &Error{Code: CodeEnvUnset, Args: safe.Args("account", a.Name, "variable", name)}
	}
	return accept(a, sourceEnv, text)
}

func octal(m fs.FileMode) string {
	const digits = "01234567"
	p := m.Perm()
	return string([]byte{'0', digits[p>>6&7], digits[p>>3&7], digits[p&7]})
}
