package cli

import (
	"context"
	"path"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

func (a *app) verifyCommand() *cobra.Command {
	var dir string
	var repair bool
	cmd := &cobra.Command{
		Use: "verify",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verify(cmd.Context(), dir, args, repair)
		},
	}
	a.archiveFlag(cmd, &dir)
	cmd.Flags().BoolVar(&repair, "repair", false, a.p.Text(phrase.OptionRepair))
	return cmd
}

// verify re-reads what the archive holds and reports; with repair it then binds
// to the servers again what nothing on them leads to any more.
func (a *app) verify(ctx context.Context, dir string, patterns []string, repair bool) error {
	began := time.Now()
	s, err := a.verifySite(dir, patterns)
	if err != nil {
		return err
	}
	ar, err := archive.Open(s.path, archive.Options{Format: s.format, StateDir: s.stateDir, Command: "verify"})
	if err != nil {
		return err
	}
	if err := known(ar, patterns); err != nil {
		_ = ar.Close()
		return err
	}
	found, err := a.check(ctx, ar, patterns, repair)
	v := report.NewVerified(s.path, began, time.Now(), found, ar.Notes(), err)
	if err != nil || !repair {
		v.Err = firstOf(err, ar.Close())
	} else {
		v.Err = a.bindAgain(ctx, ar, s, patterns, v)
	}
	v.Ended = time.Now()
	a.exit = v.Exit()
	if a.opts.json {
		return v.JSON(a.Out, a.p)
	}
	return v.Text(a.Out, a.p, a.opts.quiet)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) verifySite(dir string, patterns []string) (*site, error) {
	if dir != "" {
		return a.siteOfArchive(patterns, dir)
	}
	s, err := a.siteOfConfig(nil, false)
	if err != nil || len(patterns) == 0 {
		return s, err
	}
	// The names are matched against what the archive holds: an account may have
	// left the configuration since. What is bound again must stand in it.
	all := s.choose
	s.choose = func(remembered []archive.Account) ([]config.Account, error) {
		accounts, err := all(remembered)
		var out []config.Account
		for _, x := range accounts {
			if matches(patterns, x.Name) {
				out = append(out, x)
			}
		}
		return out, err
	}
	return s, nil
}

// matches reports whether name is meant by one of the patterns; none means all.
func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); p == name || err == nil && ok {
			return true
		}
	}
	return len(patterns) == 0
}

// known demands that each pattern means an account that the archive has.
func known(ar *archive.Archive, patterns []string) error {
	for _, p := range patterns {
		if !slices.ContainsFunc(ar.Accounts(), func(x archive.Account) bool { return matches([]string{p}, x.Name) }) {
			return &config.Error{Code: config.CodeAccountUnknown, Args: map[string]any{"account": "", "name": p, "suggestion": ""}}
		}
	}
	return nil
}

// check runs the verification, showing how far it is.
func (a *app) check(ctx context.Context, ar *archive.Archive, patterns []string, repair bool) (*archive.Verification, error) {
	sc := a.newScreen()
	t := sc.track("", 0)
	t.verifying.Store(true)
	sc.start()
	defer sc.stop()
	o := archive.VerifyOptions{Repair: repair, Progress: func(done, total int64) {
		t.octets.Store(done)
		t.size.Store(total)
	}}
	if len(patterns) > 0 {
		o.Accounts = func(name string) bool { return matches(patterns, name) }
	}
	return ar.Verify(ctx, o)
}

// bindAgain pulls the accounts with leave to bind by size and header, and
// enters what came of it in v. It closes the archive.
func (a *app) bindAgain(ctx context.Context, ar *archive.Archive, s *site, patterns []string, v *report.Verified) error {
	began := time.Now()
	accounts, err := s.choose(ar.Accounts())
	if err != nil || len(accounts) == 0 {
		// Nothing to log in to: the repair ends with the files.
		return ar.Close()
	}
	w, err := a.newWork(ar, s, a.byHand())
	if err != nil {
		_ = ar.Close()
		return err
	}
	w.rebind = true
	outcomes := w.run(ctx, accounts)
	v.Run = report.New("verify", s.path, began, time.Now(), outcomes, nil, nil)
	if !v.Sound() && ctx.Err() == nil {
		// What was lost may have been fetched again: only reading tells.
		v.After, err = a.check(ctx, ar, patterns, false)
	}
	return firstOf(err, a.settle(ar, v.Run))
}
