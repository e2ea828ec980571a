package secret

import (
	"context"
	"errors"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// service is what a keyring program shows our entries under.
const service = "fumibako"

// ringPatience bounds how long a keyring may take when nobody is there to open
// it; a locked one asks on a screen that a scheduled run does not have.
var ringPatience = 30 * time.Second

var (
	errNotInKeyring = errors.New("not in the keyring")
	errRingSilent   = errors.New("the keyring does not answer")
)

// Store puts the password of a into the keyring of the system, in place of any
// that is there. Failures are *Error.
func Store(ctx context.Context, a Account, password string) error {
	if _, err := accept(a, sourceKeyring, password); err != nil {
		return err
	}
	_, err := ring(ctx, false, func() (string, error) { return "", keyring.Set(service, a.ID(), password) })
	return ringError(ctx, a, err)
}

// Forget removes the password of a from the keyring. It is no error if there is
// none.
func Forget(ctx context.Context, a Account) error {
	_, err := ring(ctx, false, func() (string, error) { return "", keyring.Delete(service, a.ID()) })
	if errors.Is(err, errNotInKeyring) {
		return nil
	}
	return ringError(ctx, a, err)
}

func fromKeyring(ctx context.Context, a Account, alone bool) (string, error) {
	return ring(ctx, alone, func() (string, error) { return keyring.Get(service, a.ID()) })
}

// ring runs one call of go-keyring, which knows no context. alone says that
// nobody is there to open a locked keyring. A call that is given up goes on
// until the keyring answers it.
func ring(ctx context.Context, alone bool, call func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := call()
		answered <- answer{text, err}
	}()
	var late <-chan time.Time
	if alone {
		timer := time.NewTimer(ringPatience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case a := <-answered:
		if errors.Is(a.err, keyring.ErrNotFound) {
			return "", errNotInKeyring
		}
		return a.text, a.err
	case <-late:
		return "", errRingSilent
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func ringError(ctx context.Context, a Account, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return cancelled(ctx, a.Name)
	case errors.Is(err, keyring.ErrSetDataTooBig):
		return &Error{Code: CodeKeyringTooBig, Args: safe.Args("account", a.Name)}
	}
	return &Error{Code: CodeKeyringUnavailable, Args: safe.Args("account", a.Name), Err: err}
}
