package report

import (
	"bufio"
	"cmp"
	"io"
	"slices"
	"strings"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
	"github.com/fumibako-mail/fumibako/fetch"
)

const (
	indent = "  "
	// maxShown bounds how many messages of one mailbox are named on the screen
	// for one reason; --json names each.
	maxShown = 50
	// maxUnreached is the same for messages that the next run simply goes on
	// with: nothing is wrong with them, and if they are more they are counted.
	maxUnreached = 5
	// maxCell bounds the width of a mailbox name in the table.
	maxCell = 40
	// maxAccounts bounds how many accounts are named beside the verdict.
	maxAccounts = 20
)

// Text writes the run for a person: what every account holds, what is missing
// by name, and one verdict line. What needs attention stands last, next to the
// verdict: of 200 accounts all else scrolls away. With brief, only what is
// missing or went wrong and the verdict line are written.
func (r *Run) Text(w io.Writer, p *phrase.Printer, brief bool) error {
	t := &text{w: bufio.NewWriter(w), p: p}
	var unfinished []string
	for _, a := range r.Accounts {
		switch {
		case a.Verdict != Complete:
			unfinished = append(unfinished, a.Name)
		case !brief:
			t.account(a, brief)
		}
	}
	for _, a := range r.Accounts {
		if a.Verdict != Complete {
			t.account(a, brief)
		}
	}
	for _, n := range r.Notes {
		t.lines("", noteText(p, n))
	}
	if r.Err != nil && !r.told(p) {
		t.complaint("", Explain(p, r.Err, About{}))
	}
	if r.Where && !brief && r.Verdict() != Failed {
		t.lines("", p.Text(phrase.StatusArchive, phrase.Args{"Path": r.Archive}))
	}
	if n := len(unfinished); n > 0 && len(r.Accounts) > 1 {
		if n > maxAccounts {
			unfinished = append(unfinished[:maxAccounts:maxAccounts], "…")
		}
		t.lines("", p.Text(phrase.VerdictAccounts, phrase.Args{"N": n, "Total": len(r.Accounts), "Names": strings.Join(unfinished, ", ")}))
	}
	t.lines("", r.VerdictLine(p))
	return t.w.Flush()
}

// told reports whether an account already says what ended the run.
func (r *Run) told(p *phrase.Printer) bool {
	what := Explain(p, r.Err, About{}).What
	for _, a := range r.Accounts {
		if err := a.failure(); err != nil && Explain(p, err, About{}).What == what {
			return true
		}
	}
	return false
}

func noteText(p *phrase.Printer, n archive.Note) string {
	return p.Text(phrase.Key("note."+n.Code), phrase.Args{"Path": n.Path, "N": n.N})
}

type text struct {
	w *bufio.Writer
	p *phrase.Printer
}

// lines writes s with every line indented.
func (t *text) lines(indent, s string) {
	if s == "" {
		return
	}
	for line := range strings.SplitSeq(s, "\n") {
		t.w.WriteString(strings.TrimRight(indent+line, " "))
		t.w.WriteByte('\n')
	}
}

func (t *text) account(a Account, brief bool) {
	t.lines("", t.p.Text(phrase.ReportAccount, a.args(nil)))
	if a.Ledger != nil && len(a.Ledger.Mailboxes) > 0 && !brief {
		t.w.WriteString(Table(indent, t.table(a)))
	}
	if a.Ledger != nil {
		for _, m := range inboxFirst(a.Ledger.Mailboxes) {
			t.mailbox(a, m)
		}
		if !brief {
			t.sums(a)
		}
	}
	if err := a.failure(); err != nil {
		t.complaint(indent, Explain(t.p, err, a.About))
	}
	t.w.WriteByte('\n')
}

func (t *text) table(a Account) [][]string {
	cells := func(name string, c Counts) []string {
		row := []string{name}
		for _, n := range []int{c.Server, c.Held, c.New, c.Duplicate, c.LeftOut, c.Missing} {
			row = append(row, t.p.Number(int64(n)))
		}
		return row
	}
	var head []string
	for _, k := range []phrase.Key{phrase.ColumnMailbox, phrase.ColumnServer, phrase.ColumnHeld, phrase.ColumnNew,
		phrase.ColumnDuplicate, phrase.ColumnLeftOut, phrase.ColumnMissing} {
		head = append(head, t.p.Text(k))
	}
	rows := [][]string{head}
	for _, m := range inboxFirst(a.Ledger.Mailboxes) {
		name := clip(safe.Text(m.Name, maxName), maxCell)
		if m.Excluded {
			name = t.p.Text(phrase.RowExcluded, phrase.Args{"Name": name})
		}
		rows = append(rows, cells(name, countsOf(m)))
	}
	if len(a.Ledger.Mailboxes) > 1 {
		rows = append(rows, cells(t.p.Text(phrase.RowTotal), a.Counts))
	}
	return rows
}

// inboxFirst puts the mailbox that people look for first there; servers list it
// anywhere. It leaves list as it is.
func inboxFirst(list []fetch.MailboxLedger) []fetch.MailboxLedger {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b fetch.MailboxLedger) int {
		return cmp.Compare(rank(a.Name), rank(b.Name))
	})
	return out
}

func rank(mailbox string) int {
	if strings.EqualFold(mailbox, "INBOX") { // RFC 3501 §5.1
		return 0
	}
	return 1
}

// mailbox names what one mailbox lacks, and why.
func (t *text) mailbox(a Account, m fetch.MailboxLedger) {
	name := safe.Text(m.Name, maxName)
	if m.Err != nil {
		t.lines(indent, t.p.Text(phrase.ReportMailboxFailed, phrase.Args{"Mailbox": name}))
		t.complaint(indent+indent, Explain(t.p, m.Err, a.About))
	}
	t.named(phrase.ReportMissing, name, m.Missing, a.About)
	t.named(phrase.ReportGone, name, m.Gone, a.About)
}

func (t *text) named(key phrase.Key, mailbox string, list []fetch.Named, about About) {
	if len(list) == 0 {
		return
	}
	t.lines(indent, t.p.Text(key, phrase.Args{"N": len(list), "Mailbox": mailbox}))
	var reasons []string
	shown, anonymous, total := map[string]int{}, map[string]int{}, map[string]int{}
	for _, n := range list {
		text := reasonText(t.p, n, about)
		if total[text] == 0 {
			reasons = append(reasons, text)
		}
		total[text]++
	}
	for _, n := range list {
		text := reasonText(t.p, n, about)
		switch {
		case uid(n) == "" && n.From == "" && n.Subject == "" && n.Date.IsZero() && n.Octets < 0:
			// The list was not read that far: there is nothing to name it by.
			anonymous[text]++
		case unreached(n.Reason) && total[text] > maxUnreached:
		case shown[text] < maxShown:
			shown[text]++
			t.message(n, text)
		}
	}
	for _, text := range reasons {
		if rest := total[text] - shown[text] - anonymous[text]; rest > 0 {
			key := phrase.ReportMore
			if shown[text] == 0 {
				key = phrase.ReportAll
			}
			t.lines(indent+indent, t.p.Text(key, phrase.Args{"N": rest, "Reason": text}))
		}
		if n := anonymous[text]; n > 0 {
			t.lines(indent+indent, t.p.Text(phrase.ReportUnlisted, phrase.Args{"N": n, "Reason": text}))
		}
	}
}

// unreached tells the reasons that mean "not yet".
func unreached(reason string) bool { return reason == "not-reached" || reason == "interrupted" }

func (t *text) message(n fetch.Named, reason string) {
	var parts []string
	if !n.Date.IsZero() {
		parts = append(parts, t.p.Moment(n.Date))
	}
	if from := DecodeHeader(n.From); from != "" {
		parts = append(parts, from)
	}
	if subject := DecodeHeader(n.Subject); subject != "" {
		parts = append(parts, t.p.Text(phrase.ReportSubject, phrase.Args{"Subject": subject}))
	}
	if n.Octets >= 0 {
		parts = append(parts, t.p.Octets(n.Octets))
	}
	if id := uid(n); id != "" {
		parts = append(parts, "UID "+id)
	}
	parts = append(parts, reason)
	if words := strings.TrimSpace(n.Server); words != "" {
		parts = append(parts, t.p.Text(phrase.ServerSaid, phrase.Args{"Words": words}))
	}
	t.lines(indent+indent, "- "+strings.Join(parts, ", "))
}

// sums writes what an account's ledger says besides the table.
func (t *text) sums(a Account) {
	c, l := a.Counts, a.Ledger
	for _, line := range []struct {
		when bool
		key  phrase.Key
		args phrase.Args
	}{
		{c.New > 0, phrase.ReportNew, phrase.Args{"N": c.New, "Octets": t.p.Octets(c.Octets)}},
		{c.CopyOctets > 0, phrase.ReportCopies, phrase.Args{"Octets": t.p.Octets(c.CopyOctets)}},
		{c.Rebound > 0, phrase.ReportRebound, phrase.Args{"N": c.Rebound}},
		{c.Flags > 0, phrase.ReportFlags, phrase.Args{"N": c.Flags}},
		{l.Facts.NoUniqueID, phrase.ReportNoUniqueID, nil},
		{l.Facts.ServerText != "", phrase.ReportServerText, phrase.Args{"Words": strings.TrimSpace(l.Facts.ServerText)}},
	} {
		if line.when {
			t.lines(indent, t.p.Text(line.key, line.args))
		}
	}
	if a.Protocol == "pop3" {
		t.honest(a)
	}
}

// honest says what POP cannot hold.
func (t *text) honest(a Account) {
	l := a.Ledger
	if a.Counts.Server > 0 && !l.Oldest.IsZero() {
		t.lines(indent, t.p.Text(phrase.PopHolds, phrase.Args{"N": a.Counts.Server, "Oldest": t.p.Day(l.Oldest)}))
	} else {
		t.lines(indent, t.p.Text(phrase.PopHoldsUndated, phrase.Args{"N": a.Counts.Server}))
	}
	t.lines(indent, t.p.Text(phrase.PopNever))
	if l.Facts.ExpireDays > 0 {
		t.lines(indent, t.p.Text(phrase.PopExpires, phrase.Args{"N": l.Facts.ExpireDays}))
	}
}

func (t *text) complaint(indent string, c Complaint) {
	t.lines(indent, c.lines(t.p))
}

// Write puts the complaint on w: what is wrong, where, and what to do.
func (c Complaint) Write(w io.Writer, p *phrase.Printer) error {
	_, err := io.WriteString(w, c.lines(p)+"\n")
	return err
}

func (c Complaint) lines(p *phrase.Printer) string {
	var b strings.Builder
	if c.Place != "" {
		b.WriteString(c.Place + ": ")
	}
	b.WriteString(c.What)
	if c.Excerpt != "" {
		gutter := "  | "
		if line := strings.Split(c.Place, ":"); len(line) >= 3 {
			gutter = "  " + line[len(line)-2] + " | "
		}
		b.WriteString("\n" + gutter + c.Excerpt)
		if c.Column > 0 {
			before := []rune(c.Excerpt)
			before = before[:min(c.Column-1, len(before))]
			b.WriteString("\n" + strings.Repeat(" ", len(gutter)-2) + "| " + strings.Repeat(" ", Width(string(before))) + "^")
		}
	}
	if c.Server != "" {
		b.WriteString("\n" + p.Text(phrase.ServerSaid, phrase.Args{"Words": c.Server}))
	}
	if c.Hint != "" {
		b.WriteString("\n" + p.Text(phrase.Hint, phrase.Args{}) + c.Hint)
	}
	return b.String()
}

// unlisted reports whether there may be more than the counts say: an account
// that was not opened, or a list that was not read to its end.
func (r *Run) unlisted() bool {
	for _, a := range r.Accounts {
		if a.Ledger == nil || !a.Ledger.ListedAll {
			return true
		}
	}
	return false
}

// VerdictLine is the one line that says whether everything is held.
func (r *Run) VerdictLine(p *phrase.Printer) string {
	c := r.Counts()
	args := phrase.Args{"N": c.Held, "New": c.New, "Missing": c.Missing, "Server": c.Server}
	switch v := r.Verdict(); {
	case r.Exit() == ExitInterrupted && r.unlisted():
		return p.Text(phrase.VerdictInterruptedEarly, args)
	case r.Exit() == ExitInterrupted:
		return p.Text(phrase.VerdictInterrupted, args)
	case v == Failed:
		return p.Text(phrase.VerdictFailed, args)
	case v == Incomplete && c.Missing > 0 && r.unlisted():
		return p.Text(phrase.VerdictMissing, args) + p.Text(phrase.VerdictUnlisted)
	case v == Incomplete && c.Missing > 0:
		return p.Text(phrase.VerdictMissing, args)
	case v == Incomplete:
		return p.Text(phrase.VerdictIncomplete, args)
	}
	pop := 0
	for _, a := range r.Accounts {
		if a.Protocol == "pop3" {
			pop++
		}
	}
	key := phrase.VerdictComplete
	switch {
	case pop == len(r.Accounts):
		key = phrase.VerdictCompletePop
	case pop > 0:
		key = phrase.VerdictCompleteMixed
	}
	line := p.Text(key, args)
	if c.LeftOut > 0 {
		line += p.Text(phrase.VerdictLeftOut, phrase.Args{"N": c.LeftOut})
	}
	return line
}
