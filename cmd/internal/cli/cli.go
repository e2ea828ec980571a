// Package cli is the command line of fumibako: one file per command, each of
// which parses, opens, calls one function of the heart, renders the result and
// chooses the exit code.
//
// Results go to standard output, progress and complaints to standard error.
// With --json exactly one JSON object goes to standard output, whatever went
// wrong. The words come from package phrase, tables and exit codes from package
// report; no sentence is written here.
//
// The package does not speak to servers and does not touch the archive's files:
// it hands both to fetch and archive.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

// Stdio are the streams of the program. A stream that is an *os.File on a
// terminal is used as one.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs the program with the arguments args, without the program's name,
// and returns its exit code (see package report). It must be called once per
// program: it listens to the interrupt signal.
func Main(args []string, stdio Stdio) int {
	a := &app{Stdio: stdio}
	lang, known := phrase.Choose(flagValue(args, "lang"), os.Getenv, phrase.System)
	a.p = phrase.New(lang)
	a.opts.json = hasFlag(args, "json")

	ctx, stop := a.interruptible(context.Background())
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	var (
		cmd = root
		err error
	)
	if known || isCompletion(args) {
		cmd, err = root.ExecuteContextC(ctx)
	} else {
		err = &report.Usage{Key: phrase.UsageLang, Args: phrase.Args{"Lang": flagValue(args, "lang")}}
	}
	if err != nil {
		a.exit = a.fail(cmd, err)
	}
	a.farewell()
	return a.exit
}

// app is one run of the program.
type app struct {
	Stdio
	p    *phrase.Printer
	opts options
	exit int

	showing atomic.Pointer[screen] // what stands on standard error at the moment; nil for nothing
}

// options are those that every command has.
type options struct {
	config, lang, trace string
	json, quiet         bool
	jobs                int
}

// fail says why a command could not do its work, and returns the exit code.
func (a *app) fail(cmd *cobra.Command, err error) int {
	now := time.Now()
	r := report.New(commandName(cmd), "", now, now, nil, nil, err)
	if a.opts.json {
		_ = r.JSON(a.Out, a.p)
	}
	a.complain(report.Explain(a.p, err, report.About{}))
	return r.Exit()
}

// complain writes a complaint to standard error.
func (a *app) complain(c report.Complaint) { _ = c.Write(a.Err, a.p) }

// tell writes a sentence to standard error, unless only results are wanted.
func (a *app) tell(k phrase.Key, args ...phrase.Args) {
	if a.opts.quiet {
		return
	}
	if s := a.showing.Load(); s != nil {
		s.line(a.p.Text(k, args...))
		return
	}
	_, _ = io.WriteString(a.Err, a.p.Text(k, args...)+"\n")
}

// show writes text to standard output.
func (a *app) show(text string) error {
	_, err := io.WriteString(a.Out, text)
	return err
}

// finish renders a run and takes over its exit code.
func (a *app) finish(r *report.Run) error {
	a.exit = r.Exit()
	if a.opts.json {
		return r.JSON(a.Out, a.p)
	}
	return r.Text(a.Out, a.p, a.opts.quiet)
}

// commandName is the name of the command for reports: "" is the root.
func commandName(cmd *cobra.Command) string {
	if cmd == nil || !cmd.HasParent() {
		return ""
	}
	return cmd.Name()
}

// onTerminal reports whether a stream is a terminal.
func onTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// byHand reports whether a person sits before this run.
func (a *app) byHand() bool { return onTerminal(a.In) }

// flagValue looks an option up before the command line is parsed: the language
// must be known to build the commands, whose help is written in it.
func flagValue(args []string, name string) string {
	for i, arg := range args {
		switch {
		case arg == "--":
			return ""
		case arg == "--"+name && i+1 < len(args):
			return args[i+1]
		case len(arg) > len(name)+3 && arg[:len(name)+3] == "--"+name+"=":
			return arg[len(name)+3:]
		}
	}
	return ""
}

// hasFlag looks a switch up before the command line is parsed, so that a
// mistake in it is reported in the form that was asked for.
func hasFlag(args []string, name string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--"+name) || flagValue(args, name) == "true"
}

func isCompletion(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// flagError turns a mistake in an option into a usage error of ours. pflag has
// a type for each.
func flagError(_ *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		lacking *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown):
		return &report.Usage{Key: phrase.UsageFlagUnknown, Args: phrase.Args{"Flag": dashed(unknown.GetSpecifiedName())}}
	case errors.As(err, &lacking):
		return &report.Usage{Key: phrase.UsageFlagLacksValue, Args: phrase.Args{"Flag": dashed(lacking.GetFlag().Name)}}
	case errors.As(err, &invalid):
		return &report.Usage{Key: phrase.UsageFlagInvalid, Args: phrase.Args{"Flag": dashed(invalid.GetFlag().Name), "Value": invalid.GetValue()}}
	}
	return &report.Usage{Key: phrase.UsageMalformed}
}

// dashed writes an option as it is typed.
func dashed(name string) string {
	if len([]rune(name)) == 1 {
		return "-" + name
	}
	return "--" + name
}
