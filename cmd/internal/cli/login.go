package cli

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
	"github.com/fumibako-mail/fumibako/cmd/internal/secret"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// login gives a session the password of one account, and remembers what the
// server thought of it.
type login struct {
	w       *work
	account secret.Account

	mu    sync.Mutex
	value string // what was found; "" as long as nobody has asked
}

func (w *work) newLogin(x config.Account) *login {
	return &login{w: w, value: w.site.password, account: secret.Account{
		Name: x.Name, Protocol: x.Protocol, Host: x.Host, User: x.User,
		Command: x.PasswordCommand, File: x.PasswordFile, Env: x.PasswordEnv,
	}}
}

// secret is called before each login of the account's sessions. The password is
// looked for once; a session that is opened again gets the same.
func (l *login) secret(ctx context.Context) (session.Secret, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.value != "" {
		return session.Secret{Password: l.value}, nil
	}
	value, err := secret.For(ctx, l.account, l.w.prompt())
	if err != nil {
		return session.Secret{}, err
	}
	if l.w.refused != nil && !l.w.byHand {
		if when, words, ok := l.w.refused.Refused(l.account.ID(), value); ok {
			return session.Secret{}, &report.Kept{When: when, Words: words}
		}
	}
	l.value = value
	return session.Secret{Password: value}, nil
}

// settle remembers how opening the session ended, and returns err.
func (l *login) settle(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w.refused == nil || l.value == "" {
		return err
	}
	var (
		sess     *session.Error
		recorded error
	)
	switch {
	case err == nil:
		recorded = l.w.refused.Clear(l.account.ID())
	case errors.As(err, &sess) && sess.Class == session.ClassAuth && !sess.Temporary:
		recorded = l.w.refused.Remember(l.account.ID(), l.value, sess.Server, time.Now())
	}
	if recorded != nil {
		l.w.screen.line(l.w.a.p.Text(phrase.NoRefusals, phrase.Args{"Cause": recorded}))
	}
	return err
}

// prompt is how a person is asked for a password; nil if nobody is there.
func (w *work) prompt() secret.Prompt {
	in, ok := w.a.In.(*os.File)
	if !ok || !onTerminal(w.a.In) {
		return nil
	}
	return func(ctx context.Context, x secret.Account) (text string, err error) {
		w.asks.Lock()
		defer w.asks.Unlock()
		question := w.a.p.Text(phrase.PasswordAsk, phrase.Args{"Account": x.Name, "User": x.User, "Host": x.Host}) + " "
		w.screen.ask(func() { text, err = secret.Terminal(ctx, in, w.a.Err, question) })
		return text, err
	}
}
