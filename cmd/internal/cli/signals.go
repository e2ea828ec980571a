package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

// interruptible returns a context that ends with the first interrupt. The work
// then finishes what it has begun to write; a second interrupt ends the program
// at once, which costs nothing that was reported as held.
func (a *app) interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		a.tell(phrase.Stopping)
		cancel()
		select {
		case <-signals:
			os.Exit(report.ExitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
