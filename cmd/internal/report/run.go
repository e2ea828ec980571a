package report

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/secret"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// A Verdict is the shortest answer.
type Verdict string

const (
	Complete   Verdict = "complete"   // nothing is missing
	Incomplete Verdict = "incomplete" // something is missing, and named
	Failed     Verdict = "failed"     // nothing could be done
)

// The exit codes of the program (one table, printed in help).
const (
	ExitComplete    = 0
	ExitIncomplete  = 1
	ExitUsage       = 2
	ExitArchive     = 3
	ExitPerson      = 4
	ExitInterrupted = 130
)

// An Outcome is what one account came to.
type Outcome struct {
	About
	Ledger *fetch.Ledger // nil if the account could not be opened
	Err    error         // why it could not be opened; nil if it was
}

func (o Outcome) failure() error {
	if o.Err != nil {
		return o.Err
	}
	if o.Ledger == nil {
		// Never begun: the run ended before its turn.
		return context.Canceled
	}
	return o.Ledger.Err
}

// A Run is what one run of a command did.
type Run struct {
	Command  string
	Archive  string // path
	Began    time.Time
	Ended    time.Time
	Accounts []Account
	Notes    []archive.Note
	Err      error // what ended the run as a whole, or kept it from beginning; nil if nothing did
	Where    bool  // say in the text where the archive lies
}

// An Account is the result of one account.
type Account struct {
	Outcome
	Verdict Verdict
	Counts  Counts
}

// Counts are the sums of a ledger. Server = Held + Missing + LeftOut.
type Counts struct {
	Server, Held, New, Duplicate, Missing, LeftOut int
	Rebound, Gone, Flags                           int
	Octets                                         int64 // stored by this run
	CopyOctets                                     int64 // of these: held elsewhere too
}

func (c *Counts) add(d Counts) {
	c.Server += d.Server
	c.Held += d.Held
	c.New += d.New
	c.Duplicate += d.Duplicate
	c.Missing += d.Missing
	c.LeftOut += d.LeftOut
	c.Rebound += d.Rebound
	c.Gone += d.Gone
	c.Flags += d.Flags
	c.Octets += d.Octets
	c.CopyOctets += d.CopyOctets
}

func countsOf(m fetch.MailboxLedger) Counts {
	return Counts{Server: m.Server, Held: m.Held, New: m.New, Duplicate: m.Duplicate, Missing: len(m.Missing) + m.Unlisted, LeftOut: m.LeftOut,
		Rebound: m.Rebound, Gone: len(m.Gone), Flags: m.Flags, Octets: m.NewOctets, CopyOctets: m.CopyOctets}
}

// New builds the result of a run. err is what ended the run as a whole.
func New(command, archivePath string, began, ended time.Time, outcomes []Outcome, notes []archive.Note, err error) *Run {
	r := &Run{Command: command, Archive: archivePath, Began: began, Ended: ended, Notes: notes, Err: err}
	for _, o := range outcomes {
		a := Account{Outcome: o, Verdict: verdict(o)}
		if o.Ledger != nil {
			for _, m := range o.Ledger.Mailboxes {
				a.Counts.add(countsOf(m))
			}
		}
		r.Accounts = append(r.Accounts, a)
	}
	return r
}

func verdict(o Outcome) Verdict {
	switch {
	case o.Ledger == nil, o.Err != nil:
		return Failed
	case o.Ledger.Err != nil && !o.Ledger.ListedAll && held(o.Ledger) == 0:
		return Failed
	case o.Ledger.Err != nil, !o.Ledger.ListedAll:
		return Incomplete
	}
	for _, m := range o.Ledger.Mailboxes {
		// The sum is checked here once more: a hole in a ledger is no completeness.
		if len(m.Missing) > 0 || m.Err != nil || m.Server != m.Held+m.LeftOut {
			return Incomplete
		}
	}
	return Complete
}

func held(l *fetch.Ledger) int {
	n := 0
	for _, m := range l.Mailboxes {
		n += m.Held
	}
	return n
}

// Verdict is that of the whole run.
func (r *Run) Verdict() Verdict {
	complete, failed := 0, 0
	for _, a := range r.Accounts {
		switch a.Verdict {
		case Complete:
			complete++
		case Failed:
			failed++
		}
	}
	switch {
	case failed == len(r.Accounts):
		return Failed // also without any account
	case complete == len(r.Accounts) && r.Err == nil:
		return Complete
	}
	return Incomplete
}

// Counts are the sums over all accounts.
func (r *Run) Counts() Counts {
	var c Counts
	for _, a := range r.Accounts {
		c.add(a.Counts)
	}
	return c
}

// Exit is the exit code of the run. Of several the first of 130, 3, 4, 1, 0
// counts.
func (r *Run) Exit() int {
	codes := map[int]bool{}
	if r.Err != nil {
		code := ExitOf(r.Err)
		if code == ExitUsage && len(r.Accounts) == 0 {
			return ExitUsage // nothing was begun
		}
		codes[code] = true
	}
	for _, a := range r.Accounts {
		if err := a.failure(); err != nil {
			codes[ExitOf(err)] = true
		}
		if a.Verdict != Complete {
			codes[ExitIncomplete] = true
		}
		if a.Ledger == nil {
			continue
		}
		for _, m := range a.Ledger.Mailboxes {
			if m.Err != nil {
				codes[ExitOf(m.Err)] = true
			}
		}
	}
	if r.Verdict() == Failed {
		codes[ExitIncomplete] = true
	}
	for _, code := range []int{ExitInterrupted, ExitArchive, ExitPerson, ExitIncomplete} {
		if codes[code] {
			return code
		}
	}
	return ExitComplete
}

// ExitOf is the exit code that one failure asks for.
func ExitOf(err error) int {
	var (
		usage *Usage
		conf  *config.Error
		kept  *Kept
		sec   *secret.Error
		arch  *archive.Error
		sess  *session.Error
	)
	switch {
	case err == nil:
		return ExitComplete
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.As(err, &arch):
		return ExitArchive
	case errors.As(err, &usage), errors.As(err, &conf):
		return ExitUsage
	case errors.As(err, &kept), errors.As(err, &sec):
		return ExitPerson
	case errors.As(err, &sess):
		if sess.Class == session.ClassAuth || sess.Class == session.ClassTLS && strings.HasPrefix(sess.Reason, "cert-") {
			return ExitPerson
		}
	}
	return ExitIncomplete
}
