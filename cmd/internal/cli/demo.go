package cli

import (
	"context"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/demo"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

func (a *app) demoCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use:  "demo",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context(), keep) },
	}
	cmd.Flags().StringVar(&keep, "keep", "", a.p.Text(phrase.OptionKeep))
	takes(cmd, "keep", valueFolder)
	return cmd
}

// demo does the main job on the servers of package demo, which run in this
// process.
func (a *app) demo(ctx context.Context, keep string) error {
	servers, err := demo.Start()
	if err != nil {
		return &report.Usage{Key: "run.demo-failed", Args: phrase.Args{"Cause": err}}
	}
	defer servers.Close()
	dir, last := keep, phrase.DemoKept
	if keep == "" {
		if dir, err = os.MkdirTemp("", "fumibako-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		last = phrase.DemoRemoved
	}
	s, err := newSite(dir)
	if err != nil {
		return err
	}
	// What the demonstration does is not remembered beyond its folder.
	s.create, s.stateDir, s.password = true, "", demo.Password
	s.choose = func([]archive.Account) ([]config.Account, error) {
		return []config.Account{
			demoAccount("office", "imap", demo.IMAPUser, servers.IMAP),
			demoAccount("shop", protocolPOP3, demo.POP3User, servers.POP3),
		}, nil
	}
	d := &report.Demonstration{Archive: s.path, Kept: keep != ""}
	d.Err = a.demoSteps(ctx, s, servers, d)
	a.exit = d.Exit()
	if a.opts.json {
		return d.JSON(a.Out, a.p)
	}
	if d.Err != nil {
		a.complain(report.Explain(a.p, d.Err, report.About{}))
	}
	return a.show("\n" + a.p.Text(last, phrase.Args{"Path": s.path}) + "\n")
}

func demoAccount(name, protocol, user string, at *net.TCPAddr) config.Account {
	return config.Account{Name: name, Protocol: protocol, Host: at.IP.String(), Port: at.Port, User: user,
		Security: string(session.Cleartext), Pull: true}
}

// demoSteps fetches, fetches again and verifies, and shows each step.
func (a *app) demoSteps(ctx context.Context, s *site, servers *demo.Servers, d *report.Demonstration) (err error) {
	if err := a.step(phrase.DemoHello); err != nil {
		return err
	}
	pull := func(title phrase.Key) (*report.Run, error) {
		if err := a.step(title); err != nil {
			return nil, err
		}
		r, err := a.pullInto(ctx, s, true)
		if err == nil && !a.opts.json {
			err = r.Text(a.Out, a.p, a.opts.quiet)
		}
		return r, err
	}
	if d.First, err = pull(phrase.DemoFirst); err != nil {
		return err
	}
	servers.MoveMaildrop()
	if d.Second, err = pull(phrase.DemoSecond); err != nil {
		return err
	}
	if err := a.step(phrase.DemoVerify); err != nil {
		return err
	}
	began := time.Now()
	ar, err := archive.Open(s.path, archive.Options{Command: "verify"})
	if err != nil {
		return err
	}
	found, err := a.check(ctx, ar, nil, false)
	d.Verified = report.NewVerified(s.path, began, time.Now(), found, ar.Notes(), firstOf(err, ar.Close()))
	if a.opts.json {
		return nil
	}
	return d.Verified.Text(a.Out, a.p, a.opts.quiet)
}

// step announces what comes next.
func (a *app) step(title phrase.Key) error {
	if a.opts.json || a.opts.quiet {
		return nil
	}
	if title == phrase.DemoHello {
		return a.show(a.p.Text(title) + "\n")
	}
	return a.show("\n" + a.p.Text(title) + "\n\n")
}
