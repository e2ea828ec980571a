package fetch

import (
	"context"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
)

// Pull brings every message of src that the archive does not hold yet into the
// archive, under the account acc, and returns the ledger.
func Pull(ctx context.Context, src Source, a *archive.Archive, acc archive.Account, now time.Time, o Options) *Ledger {
	panic("not yet")
}
