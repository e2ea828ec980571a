package secret

import (
	"context"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// asking is held by the one who reads a password: accounts run side by side,
// and two questions at once would get each other's answers.
var asking = make(chan struct{}, 1)

// Terminal writes question to out and reads one line from in, which must be a
// terminal, without showing it. When ctx ends it puts the terminal back as it
// was and returns at once; a line typed after that is lost. One question is
// asked at a time. Failures are *Error.
func Terminal(ctx context.Context, in *os.File, out io.Writer, question string) (string, error) {
	if in == nil {
		return "", &Error{Code: CodeNotATerminal, Args: safe.Args("account", "")}
	}
	fd := int(in.Fd())
	if !term.IsTerminal(fd) {
		return "", &Error{Code: CodeNotATerminal, Args: safe.Args("account", "")}
	}
	if ctx.Err() != nil {
		return "", cancelled(ctx, "")
	}
	select {
	case asking <- struct{}{}:
	case <-ctx.Done():
		return "", cancelled(ctx, "")
	}
	state, err := term.GetState(fd)
	if err != nil {
		<-asking
		return "", &Error{Code: CodePrompt, Args: safe.Args("account", ""), Err: err}
	}
	if _, err := io.WriteString(out, question); err != nil {
		<-asking
		return "", &Error{Code: CodePrompt, Args: safe.Args("account", ""), Err: err}
	}
	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		// Given back only when the line was read: a read that is still waiting
		// would take the answer to the next question.
		defer func() { <-asking }()
		// On Unix it takes the end of input (Ctrl-D) for nothing and reads on;
		// only a line end or ctx ends the question.
		line, err := term.ReadPassword(fd)
		answered <- answer{line, err}
	}()
	select {
	case a := <-answered:
		_, _ = io.WriteString(out, "\n") // the user's own line end was not shown
		if a.err != nil {
			return "", &Error{Code: CodePrompt, Args: safe.Args("account", ""), Err: a.err}
		}
		return string(a.line), nil
	case <-ctx.Done():
		_ = term.Restore(fd, state) // there is no one to tell
		_, _ = io.WriteString(out, "\n")
		return "", cancelled(ctx, "")
	}
}
