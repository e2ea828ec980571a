package report

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// Verified is what a verification found, and with a repair what was bound to
// the servers again.
type Verified struct {
	Archive string
	Began   time.Time
	Ended   time.Time
	Found   *archive.Verification // nil if nothing could be read
	Notes   []archive.Note
	Run     *Run                  // the pull that followed a repair; nil if there was none
	After   *archive.Verification // what was found after that pull; nil if it was not looked for
	Err     error                 // what ended it as a whole
}

// NewVerified is the result of a verification.
func NewVerified(archivePath string, began, ended time.Time, found *archive.Verification, notes []archive.Note, err error) *Verified {
	if found != nil {
		slices.SortStableFunc(found.Mailboxes, func(a, b archive.MailboxVerification) int { return strings.Compare(a.Account, b.Account) })
	}
	return &Verified{Archive: archivePath, Began: began, Ended: ended, Found: found, Notes: notes, Err: err}
}

// Checked are the sums of a verification. Messages = Sound + Altered + Lost.
type Checked struct {
	Messages    int   `json:"messages"`
	Octets      int64 `json:"octets"`
	Sound       int   `json:"sound"`
	NotCompared int   `json:"not_compared"`
	Altered     int   `json:"altered"`
	Lost        int   `json:"lost"`
	Foreign     int   `json:"foreign"`
	Adopted     int   `json:"adopted"`
	FoundAgain  int   `json:"found_again"`
}

func checked(m archive.MailboxVerification) Checked {
	return Checked{m.Messages, m.Octets, m.Sound, m.NotCompared, len(m.Altered), len(m.Lost), len(m.Foreign), m.Adopted, m.FoundAgain}
}

// last is what was found last.
func (v *Verified) last() *archive.Verification {
	if v.After != nil {
		return v.After
	}
	return v.Found
}

// Sound reports whether everything recorded was read back as it was recorded.
func (v *Verified) Sound() bool {
	c := sumsOf(v.last())
	return v.Found != nil && c.Altered == 0 && c.Lost == 0 && c.Sound == c.Messages
}

func sumsOf(found *archive.Verification) Checked {
	var c Checked
	if found == nil {
		return c
	}
	for _, m := range found.Mailboxes {
		d := checked(m)
		c.Messages, c.Octets, c.Sound, c.NotCompared = c.Messages+d.Messages, c.Octets+d.Octets, c.Sound+d.Sound, c.NotCompared+d.NotCompared
		c.Altered, c.Lost, c.Foreign, c.Adopted = c.Altered+d.Altered, c.Lost+d.Lost, c.Foreign+d.Foreign, c.Adopted+d.Adopted
		c.FoundAgain += d.FoundAgain
	}
	return c
}

// Verdict is complete if everything recorded was read back as it was recorded.
// What is foreign belongs to somebody else and spoils nothing.
func (v *Verified) Verdict() Verdict {
	switch {
	case v.Found == nil:
		return Failed
	case v.Err != nil, !v.Sound():
		return Incomplete
	case v.Run != nil && v.Run.Verdict() != Complete:
		return Incomplete
	}
	return Complete
}

// Exit is the exit code; see Run.Exit.
func (v *Verified) Exit() int {
	codes := map[int]bool{ExitOf(v.Err): true}
	if v.Run != nil {
		codes[v.Run.Exit()] = true
	}
	if v.Verdict() != Complete {
		codes[ExitIncomplete] = true
	}
	for _, code := range []int{ExitUsage, ExitInterrupted, ExitArchive, ExitPerson, ExitIncomplete} {
		if codes[code] {
			return code
		}
	}
	return ExitComplete
}

type jsonVerified struct {
	Version   int           `json:"version"`
	Command   string        `json:"command"`
	Verdict   Verdict       `json:"verdict"`
	Exit      int           `json:"exit"`
	Archive   string        `json:"archive"`
	Seconds   float64       `json:"seconds"`
	Checked   Checked       `json:"checked"`
	Before    *Checked      `json:"checked_before_repair,omitempty"`
	Rebuilt   bool          `json:"rebuilt"`
	Mailboxes []jsonChecked `json:"mailboxes"`
	// Messages, Octets and Accounts are those of the pull after a repair.
	Messages JSONMessages  `json:"messages"`
	Octets   int64         `json:"octets"`
	Accounts []JSONAccount `json:"accounts"`
	Notes    []JSONNote    `json:"notes,omitempty"`
	JSONFailure
}

type jsonChecked struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	Checked
	AlteredList []jsonFinding `json:"altered_messages"`
	LostList    []jsonFinding `json:"lost_messages"`
	ForeignList []jsonFinding `json:"foreign_files"`
}

type jsonFinding struct {
	Path      string     `json:"path"`
	Offset    int64      `json:"offset"`
	MessageID string     `json:"message_id"`
	Date      *time.Time `json:"date"`
	From      string     `json:"from"`
	Subject   string     `json:"subject"`
}

func findings(list []archive.Finding) []jsonFinding {
	out := make([]jsonFinding, 0, len(list))
	for _, f := range list {
		out = append(out, jsonFinding{f.Path, f.Offset, safe.Text(f.MessageID, maxName), known(f.Date), DecodeHeader(f.From), DecodeHeader(f.Subject)})
	}
	return out
}

// JSON writes the result as one object.
func (v *Verified) JSON(w io.Writer, p *phrase.Printer) error { return Encode(w, v.object(p)) }

func (v *Verified) object(p *phrase.Printer) *jsonVerified {
	j := &jsonVerified{
		Version: Version, Command: "verify", Verdict: v.Verdict(), Exit: v.Exit(), Archive: v.Archive,
		Seconds: v.Ended.Sub(v.Began).Round(time.Millisecond).Seconds(), Checked: sumsOf(v.last()), Mailboxes: []jsonChecked{},
		Accounts: []JSONAccount{}, JSONFailure: FailureOf(p, v.Err, About{}),
	}
	if v.Found != nil {
		j.Rebuilt = v.Found.Rebuilt
		if v.After != nil {
			before := sumsOf(v.Found)
			j.Before = &before
		}
		for _, m := range v.last().Mailboxes {
			j.Mailboxes = append(j.Mailboxes, jsonChecked{m.Account, safe.Text(m.Mailbox, maxName), checked(m),
				findings(m.Altered), findings(m.Lost), findings(m.Foreign)})
		}
	}
	for _, n := range v.Notes {
		j.Notes = append(j.Notes, JSONNote{n.Code, n.Path, n.N, noteText(p, n)})
	}
	if v.Run != nil {
		r := v.Run.object(p)
		j.Messages, j.Octets, j.Accounts = r.Messages, r.Octets, r.Accounts
	}
	return j
}

// Text writes the result for a person; see Run.Text.
func (v *Verified) Text(w io.Writer, p *phrase.Printer, brief bool) error {
	t := &text{w: bufio.NewWriter(w), p: p}
	if v.Found != nil {
		if !brief && len(v.Found.Mailboxes) > 0 {
			t.w.WriteString(Table("", v.table(p)))
		}
		for _, m := range v.Found.Mailboxes {
			args := phrase.Args{"Account": m.Account, "Mailbox": m.Mailbox}
			t.findings(phrase.VerifyAltered, args, m.Altered)
			t.findings(phrase.VerifyLost, args, m.Lost)
			if !brief {
				t.findings(phrase.VerifyForeign, args, m.Foreign)
			}
		}
		c := sumsOf(v.Found)
		for _, line := range []struct {
			when bool
			key  phrase.Key
			args phrase.Args
		}{
			{v.Found.Rebuilt, phrase.VerifyRebuilt, nil},
			{c.Adopted > 0, phrase.VerifyAdopted, phrase.Args{"N": c.Adopted}},
			{c.FoundAgain > 0, phrase.VerifyFoundAgain, phrase.Args{"N": c.FoundAgain}},
			{c.NotCompared > 0, phrase.VerifyNotCompared, phrase.Args{"N": c.NotCompared}},
		} {
			if line.when {
				t.lines("", p.Text(line.key, line.args))
			}
		}
	}
	for _, n := range v.Notes {
		t.lines("", noteText(p, n))
	}
	if v.Err != nil {
		t.complaint("", Explain(p, v.Err, About{}))
	}
	if v.Run != nil {
		t.w.WriteByte('\n')
		for _, a := range v.Run.Accounts {
			if !brief || a.Verdict != Complete {
				t.account(a, brief)
			}
		}
	}
	if c := sumsOf(v.last()); v.Found != nil {
		if c.Lost > 0 {
			t.lines("", p.Text(phrase.Hint)+p.Text(phrase.VerifyLostHint))
		}
		files, mbox := v.altered()
		if files {
			t.lines("", p.Text(phrase.Hint)+p.Text(phrase.VerifyAlteredHint))
		}
		if mbox {
			t.lines("", p.Text(phrase.Hint)+p.Text(phrase.VerifyAlteredMboxHint))
		}
	}
	t.lines("", v.VerdictLine(p))
	return t.w.Flush()
}

// altered reports whether altered messages are files of their own, and whether
// they lie in an mbox: moving that away would take the others along.
func (v *Verified) altered() (files, mbox bool) {
	for _, m := range v.last().Mailboxes {
		for _, f := range m.Altered {
			if strings.HasSuffix(f.Path, ".mbox") {
				mbox = true
			} else {
				files = true
			}
		}
	}
	return files, mbox
}

func (v *Verified) table(p *phrase.Printer) [][]string {
	cells := func(name string, c Checked) []string {
		row := []string{name}
		for _, n := range []int{c.Messages, c.Sound, c.Altered, c.Lost, c.Foreign} {
			row = append(row, p.Number(int64(n)))
		}
		return append(row, p.Octets(c.Octets))
	}
	var head []string
	for _, k := range []phrase.Key{phrase.ColumnMailbox, phrase.ColumnRecorded, phrase.ColumnSound, phrase.ColumnAltered,
		phrase.ColumnLost, phrase.ColumnForeign, phrase.ColumnOctets} {
		head = append(head, p.Text(k))
	}
	rows := [][]string{head}
	for _, m := range v.Found.Mailboxes {
		name := safe.Text(m.Account, maxName) + " / " + safe.Text(m.Mailbox, maxName)
		rows = append(rows, cells(clip(name, maxCell), checked(m)))
	}
	if len(v.Found.Mailboxes) > 1 {
		rows = append(rows, cells(p.Text(phrase.RowTotal), sumsOf(v.Found)))
	}
	return rows
}

func (t *text) findings(key phrase.Key, args phrase.Args, list []archive.Finding) {
	if len(list) == 0 {
		return
	}
	t.lines("", t.p.Text(key, args, phrase.Args{"N": len(list)}))
	for i, f := range list {
		if i == maxShown {
			t.lines(indent, t.p.Text(phrase.ReportMoreFindings, phrase.Args{"N": len(list) - i}))
			break
		}
		line := "- "
		if !f.Date.IsZero() {
			line += t.p.Moment(f.Date) + ", "
		}
		if from := DecodeHeader(f.From); from != "" {
			line += from + ", "
		}
		if subject := DecodeHeader(f.Subject); subject != "" {
			line += t.p.Text(phrase.ReportSubject, phrase.Args{"Subject": subject}) + ", "
		}
		t.lines(indent, line+safe.Text(f.Path, maxName))
	}
}

// VerdictLine is the one line that says whether everything is sound.
func (v *Verified) VerdictLine(p *phrase.Printer) string {
	c := sumsOf(v.last())
	args := phrase.Args{"N": c.Sound, "Messages": c.Messages, "Octets": p.Octets(c.Octets), "Altered": c.Altered, "Lost": c.Lost}
	switch {
	case v.Exit() == ExitInterrupted:
		return p.Text(phrase.VerifyVerdictInterrupted, args)
	case v.Found == nil:
		return p.Text(phrase.VerifyVerdictFailed, args)
	case !v.Sound():
		return p.Text(phrase.VerifyVerdictUnsound, args)
	case v.Run != nil && v.Run.Verdict() != Complete:
		return p.Text(phrase.VerifyVerdictRepairPart, args)
	case v.Err != nil:
		return p.Text(phrase.VerifyVerdictFailed, args)
	}
	return p.Text(phrase.VerifyVerdictSound, args)
}
