package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

// What an option takes, as help writes it.
const (
	valueAnnotation = "fumibako_value"
	valueFile       = "FILE"
	valueFolder     = "DIR"
	valueNumber     = "N"
	valueLang       = "ja|en"
	valueID         = "ID"
	valueAge        = "26h"
)

// takes notes what an option takes, for help.
func takes(cmd *cobra.Command, option, value string) {
	f := cmd.Flags().Lookup(option)
	if f == nil {
		f = cmd.PersistentFlags().Lookup(option)
	}
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[valueAnnotation] = []string{value}
}

// helpKey is the phrase about a command: help.COMMAND.PART.
func helpKey(cmd *cobra.Command, part string) phrase.Key {
	name := commandName(cmd)
	if name == "" {
		name = "root"
	}
	return phrase.Key("help." + name + "." + part)
}

// help is the help text of a command.
func (a *app) help(cmd *cobra.Command) string {
	var b strings.Builder
	paragraph := func(title phrase.Key, body string) {
		if body == "" {
			return
		}
		if title != "" {
			b.WriteString(a.p.Text(title) + "\n")
		}
		b.WriteString(strings.TrimRight(body, "\n") + "\n\n")
	}
	text := func(part string) string {
		if k := helpKey(cmd, part); a.p.Has(k) {
			return a.p.Text(k)
		}
		return ""
	}
	paragraph("", text("long"))
	paragraph(phrase.HelpUsage, indented(text("usage")))
	paragraph(phrase.HelpCommands, a.helpCommands(cmd))
	paragraph(phrase.HelpExamples, indented(text("example")))
	paragraph(phrase.HelpOptions, helpFlags(cmd.LocalNonPersistentFlags()))
	paragraph(phrase.HelpGlobal, helpFlags(cmd.Root().PersistentFlags()))
	paragraph(phrase.HelpExit, indented(a.p.Text(phrase.ExitCodes)))
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func indented(s string) string {
	if s == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(s, "\n", "\n  ")
}

func (a *app) helpCommands(cmd *cobra.Command) string {
	var rows [][2]string
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.IsAvailableCommand() {
			rows = append(rows, [2]string{c.Name(), a.p.Text(helpKey(c, "short"))})
		}
	}
	return twoColumns(rows)
}

func helpFlags(flags *pflag.FlagSet) string {
	var rows [][2]string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		left := "--" + f.Name
		if f.Shorthand != "" {
			left = "-" + f.Shorthand + ", " + left
		}
		if v := f.Annotations[valueAnnotation]; len(v) > 0 {
			left += " " + v[0]
		}
		rows = append(rows, [2]string{left, f.Usage})
	})
	return twoColumns(rows)
}

// twoColumns sets names beside their explanations.
func twoColumns(rows [][2]string) string {
	width := 0
	for _, r := range rows {
		width = max(width, report.Width(r[0]))
	}
	var b strings.Builder
	for _, r := range rows {
		margin := strings.Repeat(" ", width+4)
		b.WriteString("  " + r[0] + strings.Repeat(" ", width-report.Width(r[0])+2))
		b.WriteString(strings.ReplaceAll(r[1], "\n", "\n"+margin) + "\n")
	}
	return b.String()
}
