package cli

import (
	"bufio"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

// home is fumibako without a command: what can be done next.
func (a *app) home(cmd *cobra.Command, _ []string) error {
	if !a.hasConfig() {
		return a.welcome(cmd)
	}
	path, configured, err := a.lookAt("", nil)
	if err != nil {
		return err
	}
	if err := a.status(path, configured, 0, true); err != nil {
		return err
	}
	if a.opts.json || a.opts.quiet {
		return nil
	}
	octets, _ := archive.ReadStatus(path) // none: nothing was pulled yet
	next := phrase.NextVerify
	switch status := report.ReadStatus(octets); {
	case len(configured) == 0:
		next = phrase.NextAccount
	case !allComplete(status, configured):
		next = phrase.NextPull
	}
	return a.show("\n" + a.p.Text(next) + "\n")
}

// welcome says what can be done without a configuration; on a terminal as a
// choice by number.
func (a *app) welcome(cmd *cobra.Command) error {
	if a.opts.json {
		return report.Encode(a.Out, map[string]any{"version": report.Version, "command": "", "configured": false})
	}
	type choice struct {
		text phrase.Key
		do   func() error
	}
	choices := []choice{{phrase.WelcomePull, func() error {
		return a.show(a.p.Text(phrase.WelcomePullHow) + "\n")
	}}}
	if demo, _, err := cmd.Root().Find([]string{"demo"}); err == nil && demo != cmd.Root() {
		choices = append([]choice{{phrase.WelcomeDemo, func() error {
			demo.SetContext(cmd.Context())
			return demo.RunE(demo, nil)
		}}}, choices...)
	}
	var b strings.Builder
	b.WriteString(a.p.Text(phrase.Welcome) + "\n\n")
	for i, c := range choices {
		b.WriteString("  " + string(rune('1'+i)) + "  " + strings.ReplaceAll(a.p.Text(c.text), "\n", "\n     ") + "\n")
	}
	if !a.byHand() || !onTerminal(a.Out) {
		return a.show(b.String() + "\n" + a.p.Text(phrase.WelcomeHelp) + "\n")
	}
	if err := a.show(b.String() + "\n" + a.p.Text(phrase.WelcomeAsk) + " "); err != nil {
		return err
	}
	line, _ := bufio.NewReader(a.In).ReadString('\n') // an end of input is an empty answer
	line = strings.TrimSpace(line)
	for i, c := range choices {
		// A Japanese keyboard may give full-width digits.
		if line == string(rune('1'+i)) || line == string(rune('１'+i)) {
			return c.do()
		}
	}
	return a.show(a.p.Text(phrase.WelcomeHelp) + "\n")
}

func allComplete(s *report.Status, configured []config.Account) bool {
	for _, x := range configured {
		if known, ok := s.Account(x.Name); !ok || known.Verdict != report.Complete {
			return false
		}
	}
	return true
}
