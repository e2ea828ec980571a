package cli

import (
	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

const programName = "fumibako"

// root builds the whole command tree.
func (a *app) root() *cobra.Command {
	// Started from the Explorer, fumibako runs as without arguments and waits
	// before the window closes (see farewell): cobra's own trap would only scold.
	cobra.MousetrapHelpText = ""

	root := &cobra.Command{
		Use:           programName,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          a.unknownCommand,
		RunE:          a.home,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&a.opts.config, "config", "", a.p.Text(phrase.OptionConfig))
	flags.BoolVar(&a.opts.json, "json", a.opts.json, a.p.Text(phrase.OptionJSON))
	flags.StringVar(&a.opts.lang, "lang", "", a.p.Text(phrase.OptionLang))
	flags.BoolVar(&a.opts.quiet, "quiet", false, a.p.Text(phrase.OptionQuiet))
	flags.IntVar(&a.opts.jobs, "jobs", 0, a.p.Text(phrase.OptionJobs))
	flags.StringVar(&a.opts.trace, "trace", "", a.p.Text(phrase.OptionTrace))
	flags.BoolP("help", "h", false, a.p.Text(phrase.OptionHelp))
	for name, value := range map[string]string{"config": valueFile, "lang": valueLang, "jobs": valueNumber, "trace": valueFile} {
		takes(root, name, value)
	}
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if flags.Changed("jobs") && a.opts.jobs < 1 {
			return &report.Usage{Key: phrase.UsageJobs}
		}
		return nil
	}

	root.AddCommand(a.demoCommand(), a.pullCommand(), a.statusCommand(), a.verifyCommand(), a.completionCommand(), a.versionCommand())
	root.SetHelpCommand(a.helpCommand())
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { _ = a.show(a.help(cmd)) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { return a.show(a.help(cmd)) })
	return root
}

// unknownCommand refuses arguments of the bare program: each is a command that
// does not exist.
func (a *app) unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	suggestion := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		suggestion = near[0]
	}
	return &report.Usage{Key: phrase.UsageCommandUnknown, Args: phrase.Args{"Command": args[0], "Suggestion": suggestion}}
}

// noArguments refuses every argument.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &report.Usage{Key: phrase.UsageArgument, Args: phrase.Args{"Argument": args[0]}}
	}
	return nil
}

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "help",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return a.unknownCommand(cmd.Root(), args)
			}
			return a.show(a.help(about))
		},
	}
}
