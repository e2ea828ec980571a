package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

func (a *app) statusCommand() *cobra.Command {
	var dir, messageID, maxAge string
	cmd := &cobra.Command{Use: "status"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		limit, err := age(maxAge)
		if err != nil {
			return err
		}
		path, configured, err := a.lookAt(dir, args)
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("message-id") {
			return a.findMessage(path, messageID)
		}
		// An archive that was named must be there; that of a configuration may not have begun.
		return a.status(path, configured, limit, dir == "")
	}
	a.archiveFlag(cmd, &dir)
	cmd.Flags().StringVar(&messageID, "message-id", "", a.p.Text(phrase.OptionMessageID))
	cmd.Flags().StringVar(&maxAge, "max-age", "", a.p.Text(phrase.OptionMaxAge))
	takes(cmd, "message-id", valueID)
	takes(cmd, "max-age", valueAge)
	return cmd
}

// archiveFlag adds the option that names an archive for which there is no
// configuration; --to, which pull calls it, is understood too.
func (a *app) archiveFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "archive", "", a.p.Text(phrase.OptionArchive))
	cmd.Flags().StringVar(dir, "to", "", a.p.Text(phrase.OptionArchive))
	cmd.Flags().Lookup("to").Hidden = true
	takes(cmd, "archive", valueFolder)
}

// lookAt finds the archive that is to be looked at, and which accounts are
// meant: those of the configuration, or all the archive has (nil).
func (a *app) lookAt(dir string, patterns []string) (path string, configured []config.Account, err error) {
	if dir != "" {
		s, err := newSite(dir)
		if err != nil {
			return "", nil, err
		}
		for _, p := range patterns {
			configured = append(configured, config.Account{Name: p})
		}
		return s.path, configured, nil
	}
	c, err := a.loadConfig()
	if err != nil {
		return "", nil, err
	}
	if c.Archive.Path == "" {
		return "", nil, &report.Usage{Key: phrase.UsageNoArchive, Args: phrase.Args{"File": c.File}}
	}
	accounts, err := c.Select(patterns...)
	if len(patterns) == 0 {
		accounts = pulled(accounts)
	}
	return c.Archive.Path, accounts, err
}

// age reads 26h, 90m, 2d.
func age(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		d = time.Duration(n * 24 * float64(time.Hour))
	}
	if err != nil || d <= 0 {
		return 0, &report.Usage{Key: phrase.UsageMaxAge, Args: phrase.Args{"Value": s}}
	}
	return d, nil
}

// status shows what the last runs came to, without opening the archive.
func (a *app) status(path string, configured []config.Account, limit time.Duration, mayBeAbsent bool) error {
	octets, err := archive.ReadStatus(path)
	if _, there := os.Lstat(path); isAbsent(err) && (mayBeAbsent || there == nil) {
		err = neverBegun(path)
	}
	if err != nil {
		return err
	}
	var names []report.About
	for _, x := range configured {
		names = append(names, aboutOf(x))
	}
	s := report.NewSummary(path, report.ReadStatus(octets), names, time.Now(), limit)
	a.exit = s.Exit()
	if a.opts.json {
		return s.JSON(a.Out, a.p)
	}
	return s.Text(a.Out, a.p, a.opts.quiet)
}

// neverBegun tells an archive that was not begun yet, or in which no run has
// ended (nil), from one whose disk is not there (an error).
func neverBegun(path string) error {
	state, err := config.StateDir()
	if err != nil {
		return nil // nothing can be remembered
	}
	ar, err := archive.Open(path, archive.Options{StateDir: state, Command: "status"})
	var e *archive.Error
	switch {
	case err == nil:
		return ar.Close() // begun meanwhile
	case errors.As(err, &e) && e.Code == archive.CodeAbsent && e.Text == "", errors.As(err, &e) && e.Code == archive.CodeLocked:
		return nil
	}
	return err
}

// findMessage says whether and where a message is held.
func (a *app) findMessage(path, messageID string) error {
	if strings.TrimSpace(messageID) == "" {
		return &report.Usage{Key: phrase.UsageMessageID}
	}
	places, err := archive.FindMessageID(path, messageID)
	if err != nil {
		return err
	}
	s := report.NewSearch(path, messageID, places)
	a.exit = s.Exit()
	if a.opts.json {
		return s.JSON(a.Out, a.p)
	}
	return s.Text(a.Out, a.p)
}
