package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

func (a *app) pullCommand() *cobra.Command {
	var to string
	var retry bool
	cmd := &cobra.Command{
		Use:     "pull",
		Aliases: []string{"fetch"},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.pullSite(args, to)
			if err != nil {
				return err
			}
			return a.pull(cmd.Context(), s, retry || a.byHand())
		},
	}
	cmd.Flags().StringVar(&to, "to", "", a.p.Text(phrase.OptionTo))
	cmd.Flags().BoolVar(&retry, "retry-login", false, a.p.Text(phrase.OptionRetryLogin))
	takes(cmd, "to", valueFolder)
	return cmd
}

// pullSite finds out what to pull, and where to.
func (a *app) pullSite(args []string, to string) (*site, error) {
	urls := 0
	for _, arg := range args {
		if strings.Contains(arg, "://") {
			urls++
		}
	}
	switch {
	case urls > 0 && urls < len(args):
		return nil, &report.Usage{Key: phrase.UsageMixed}
	case urls > 0 && to == "":
		return nil, &report.Usage{Key: phrase.UsageToMissing}
	case urls > 0:
		return a.siteOfURLs(args, to)
	case to != "":
		return a.siteOfArchive(args, to)
	}
	return a.siteOfConfig(args, true)
}

// pull brings the accounts of s into its archive and reports.
func (a *app) pull(ctx context.Context, s *site, byHand bool) error {
	r, err := a.pullInto(ctx, s, byHand)
	if err != nil {
		return err
	}
	r.Where = true
	return a.finish(r)
}

// pullInto brings the accounts of s into its archive. The error says why it
// could not begin; everything else stands in the run.
func (a *app) pullInto(ctx context.Context, s *site, byHand bool) (*report.Run, error) {
	began := time.Now()
	ar, err := archive.Open(s.path, archive.Options{Format: s.format, Create: s.create, StateDir: s.stateDir, Command: "pull"})
	if err != nil {
		return nil, err
	}
	accounts, err := s.choose(ar.Accounts())
	if err != nil {
		_ = ar.Close()
		return nil, err
	}
	w, err := a.newWork(ar, s, byHand)
	if err != nil {
		_ = ar.Close()
		return nil, err
	}
	outcomes := w.run(ctx, accounts)
	r := report.New("pull", s.path, began, time.Now(), outcomes, ar.Notes(), nil)
	r.Err = a.settle(ar, r)
	return r, nil
}

// settle writes the status file and closes the archive.
func (a *app) settle(ar *archive.Archive, r *report.Run) error {
	octets, _ := archive.ReadStatus(ar.Path()) // none yet, or unreadable: begun anew
	status := report.ReadStatus(octets)
	status.Merge(r)
	octets, err := status.Octets()
	if err == nil {
		err = ar.SaveStatus(octets)
	}
	if closed := ar.Close(); closed != nil {
		err = closed
	}
	return err
}
