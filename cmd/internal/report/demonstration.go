package report

import (
	"io"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
)

// A Demonstration is what `fumibako demo` came to. What was not reached is nil.
type Demonstration struct {
	Archive       string
	Kept          bool // the archive is still there
	First, Second *Run
	Verified      *Verified
	Err           error // what ended it early
}

// Exit is 0 only if every step was complete, and nothing was stored twice.
func (d *Demonstration) Exit() int {
	if d.Err != nil {
		return max(ExitOf(d.Err), ExitIncomplete)
	}
	for _, code := range []int{d.First.Exit(), d.Second.Exit(), d.Verified.Exit()} {
		if code != ExitComplete {
			return code
		}
	}
	if d.Second.Counts().New > 0 {
		return ExitIncomplete
	}
	return ExitComplete
}

type jsonDemonstration struct {
	Version int           `json:"version"`
	Command string        `json:"command"`
	Verdict Verdict       `json:"verdict"`
	Exit    int           `json:"exit"`
	Archive string        `json:"archive"`
	Kept    bool          `json:"kept"`
	First   *JSON         `json:"first"`
	Second  *JSON         `json:"second"`
	Verify  *jsonVerified `json:"verify"`
	JSONFailure
}

// JSON writes the demonstration as one object.
func (d *Demonstration) JSON(w io.Writer, p *phrase.Printer) error {
	j := jsonDemonstration{Version: Version, Command: "demo", Verdict: Complete, Exit: d.Exit(), Archive: d.Archive, Kept: d.Kept,
		JSONFailure: FailureOf(p, d.Err, About{})}
	if j.Exit != ExitComplete {
		j.Verdict = Incomplete
	}
	if d.First != nil {
		j.First = d.First.object(p)
	}
	if d.Second != nil {
		j.Second = d.Second.object(p)
	}
	if d.Verified != nil {
		j.Verify = d.Verified.object(p)
	}
	return Encode(w, j)
}
