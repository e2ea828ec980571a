package cli

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
	"github.com/fumibako-mail/fumibako/cmd/internal/secret"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

const (
	maxSideBySide  = 4 // accounts at once, whatever is asked for (DESIGN §5)
	defaultPerHost = 2
	protocolPOP3   = "pop3"
)

// work pulls accounts side by side into one archive.
type work struct {
	a       *app
	ar      *archive.Archive
	site    *site
	byHand  bool
	rebind  bool
	screen  *screen
	trace   *traceFile
	refused *secret.Refusals // nil without a state folder
	status  *report.Status   // of earlier runs, for the estimate

	hosts map[string]chan struct{} // a place for each session a host may have
	asks  sync.Mutex               // one question at a time
}

func (a *app) newWork(ar *archive.Archive, s *site, byHand bool) (*work, error) {
	w := &work{a: a, ar: ar, site: s, byHand: byHand, hosts: map[string]chan struct{}{}}
	var err error
	if w.trace, err = openTrace(a.opts.trace); err != nil {
		return nil, &report.Usage{Key: phrase.UsageTrace, Args: phrase.Args{"File": a.opts.trace, "Cause": err}}
	}
	if s.stateDir != "" {
		if w.refused, err = secret.OpenRefusals(s.stateDir); err != nil {
			a.tell(phrase.NoRefusals, phrase.Args{"Cause": err})
			w.refused = nil
		}
	}
	octets, _ := archive.ReadStatus(ar.Path()) // none yet: no estimate from it
	w.status = report.ReadStatus(octets)
	w.screen = a.newScreen()
	return w, nil
}

// run pulls the accounts and returns an outcome for each, in their order. When
// the archive fails, everything stops.
func (w *work) run(ctx context.Context, accounts []config.Account) []report.Outcome {
	inner, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	side := min(max(1, w.site.limits.Accounts), maxSideBySide)
	if w.a.opts.jobs > 0 {
		side = min(side, w.a.opts.jobs)
	}
	for _, x := range accounts {
		if w.hosts[x.Host] == nil {
			w.hosts[x.Host] = make(chan struct{}, max(1, w.site.limits.PerHost))
		}
	}
	w.screen.start()
	outcomes := make([]report.Outcome, len(accounts))
	places := make(chan struct{}, side)
	var all sync.WaitGroup
	for i, x := range accounts {
		all.Go(func() {
			outcomes[i] = report.Outcome{About: aboutOf(x)}
			// The host first: an account that waits for it must not keep others out.
			if !enter(inner, w.hosts[x.Host]) {
				return
			}
			defer leave(w.hosts[x.Host])
			if !enter(inner, places) {
				return
			}
			defer leave(places)
			outcomes[i].Ledger, outcomes[i].Err = w.account(inner, x)
			if err := endsRun(outcomes[i]); err != nil {
				stop(err)
			}
		})
	}
	all.Wait()
	w.screen.stop()
	_ = w.trace.Close()
	if ctx.Err() == nil {
		blame(outcomes, context.Cause(inner))
	}
	return outcomes
}

func enter(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func leave(places chan struct{}) { <-places }

// endsRun returns what reaches beyond the account it happened in.
func endsRun(o report.Outcome) error {
	err := o.Err
	if err == nil && o.Ledger != nil {
		err = o.Ledger.Err
	}
	var (
		arch *archive.Error
		sess *session.Error
	)
	if errors.As(err, &arch) || errors.As(err, &sess) && sess.Reach == session.ReachRun {
		return err
	}
	return nil
}

// blame puts the cause in place of the cancellation it led to.
func blame(outcomes []report.Outcome, cause error) {
	if cause == nil {
		return
	}
	for i := range outcomes {
		o := &outcomes[i]
		switch {
		case o.Ledger != nil && o.Err == nil && errors.Is(o.Ledger.Err, context.Canceled):
			o.Ledger.Err = cause
		case o.Ledger == nil && (o.Err == nil || errors.Is(o.Err, context.Canceled)):
			o.Err = cause
		}
	}
}

func aboutOf(x config.Account) report.About {
	return report.About{Name: x.Name, Protocol: x.Protocol, Host: x.Host, Port: x.Port, Security: x.Security, User: x.User}
}

// account pulls one account. The error says why it could not be opened; what
// went wrong afterwards stands in the ledger.
func (w *work) account(ctx context.Context, x config.Account) (*fetch.Ledger, error) {
	if x.Security == string(session.Cleartext) && !config.IsLoopback(x.Host) {
		if x.CleartextReason == "" {
			return nil, &session.Error{Class: session.ClassPolicy, Reach: session.ReachAccount, Reason: "cleartext-refused"}
		}
		w.screen.line(w.a.p.Text(phrase.CleartextWarning, phrase.Args{"Account": x.Name, "Host": x.Host, "Reason": x.CleartextReason}))
	}
	exclude, err := exclusion(x.Exclude)
	if err != nil {
		return nil, err
	}
	in := w.newLogin(x)
	server := session.Server{
		Host: x.Host, Port: x.Port, Security: session.Security(x.Security), User: x.User,
		Secret: in.secret, Transcript: w.trace.of(x.Name),
	}
	t := w.screen.track(x.Name, w.rate(x.Name))
	defer t.done()
	src, err := open(ctx, x.Protocol, server)
	if err = in.settle(err); err != nil {
		return nil, err
	}
	ledger := fetch.Pull(ctx, src, w.ar, archive.Account{
		Name: x.Name, Protocol: x.Protocol, Host: x.Host, User: x.User, Port: x.Port, Security: x.Security,
	}, fetch.Options{Exclude: exclude, Rebind: w.rebind, Observer: t.observer()})
	// A farewell that goes wrong loses nothing: Pull only reads.
	_ = src.Close()
	return ledger, nil
}

func open(ctx context.Context, protocol string, s session.Server) (fetch.Source, error) {
	if protocol == protocolPOP3 {
		return fetch.OpenPOP3(ctx, s, fetch.POP3Options{})
	}
	return fetch.OpenIMAP(ctx, s, fetch.IMAPOptions{})
}

// rate is how many octets a second the last run of an account brought; 0 if
// there was none to tell.
func (w *work) rate(name string) int64 {
	s, _ := w.status.Account(name)
	return s.Rate
}

// transcript is where a session's transcript goes; nil for nowhere.
func (t *traceFile) of(account string) io.Writer {
	if t == nil {
		return nil
	}
	return &traceWriter{file: t, prefix: account + " "}
}
