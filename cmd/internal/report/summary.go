package report

import (
	"bufio"
	"io"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// A Summary is what is known about the accounts of an archive without opening
// it.
type Summary struct {
	Archive  string
	Written  time.Time // zero: no run has ended here yet
	Accounts []AccountSummary
	now      time.Time
	limit    time.Duration
}

// AccountSummary is the last known state of an account, and how old it is.
type AccountSummary struct {
	AccountStatus
	Never   bool // no run has tried this account yet
	Overdue bool // the last complete run is older than the limit, or there was none
}

// NewSummary makes a summary out of a status file. accounts are those to speak
// of, in their order; none means all. A limit of 0 finds nothing overdue.
func NewSummary(archivePath string, s *Status, accounts []About, now time.Time, limit time.Duration) *Summary {
	out := &Summary{Archive: archivePath, Written: s.Written, now: now, limit: limit}
	if len(accounts) == 0 {
		for _, a := range s.Accounts {
			accounts = append(accounts, a.about())
		}
	}
	for _, about := range accounts {
		a, ok := s.Account(about.Name)
		if !ok {
			a = AccountStatus{Name: about.Name, Protocol: about.Protocol, Host: about.Host, Port: about.Port, User: about.User, Scope: scope(about.Protocol)}
		}
		late := a.LastComplete == nil || now.Sub(*a.LastComplete) > limit
		out.Accounts = append(out.Accounts, AccountSummary{AccountStatus: a, Never: !ok, Overdue: limit > 0 && late})
	}
	return out
}

// Verdict is complete if the last run of every account was, and there was one.
func (s *Summary) Verdict() Verdict {
	if len(s.Accounts) == 0 {
		return Incomplete
	}
	for _, a := range s.Accounts {
		if a.Never || a.Verdict != Complete || a.Overdue {
			return Incomplete
		}
	}
	return Complete
}

// Exit is 1 if an account is overdue, or if with a limit no account is known at
// all: a status that could be read is otherwise an answer, whatever it says.
func (s *Summary) Exit() int {
	if s.limit > 0 && len(s.Accounts) == 0 {
		return ExitIncomplete
	}
	for _, a := range s.Accounts {
		if a.Overdue {
			return ExitIncomplete
		}
	}
	return ExitComplete
}

type jsonSummary struct {
	Version  int                  `json:"version"`
	Command  string               `json:"command"`
	Verdict  Verdict              `json:"verdict"`
	Exit     int                  `json:"exit"`
	Archive  string               `json:"archive"`
	Written  *time.Time           `json:"written"` // null: no run has ended here yet
	Messages JSONMessages         `json:"messages"`
	Octets   int64                `json:"octets"`
	Seconds  float64              `json:"seconds"`
	Accounts []jsonAccountSummary `json:"accounts"`
}

type jsonAccountSummary struct {
	AccountStatus
	Never     bool     `json:"never"`
	Overdue   bool     `json:"overdue"`
	AgeHours  *float64 `json:"age_hours"` // since the last complete run; null if there was none
	Mailboxes []string `json:"mailboxes"`
}

// JSON writes the summary as one object.
func (s *Summary) JSON(w io.Writer, _ *phrase.Printer) error {
	j := jsonSummary{Version: Version, Command: "status", Verdict: s.Verdict(), Exit: s.Exit(), Archive: s.Archive,
		Written: known(s.Written), Accounts: []jsonAccountSummary{}}
	for _, a := range s.Accounts {
		e := jsonAccountSummary{AccountStatus: a.AccountStatus, Never: a.Never, Overdue: a.Overdue, Mailboxes: []string{}}
		if a.LastComplete != nil {
			h := s.now.Sub(*a.LastComplete).Hours()
			e.AgeHours = &h
		}
		j.Octets += a.Octets
		m, n := &j.Messages, a.Messages
		m.Server, m.Held, m.New, m.Duplicate = m.Server+n.Server, m.Held+n.Held, m.New+n.New, m.Duplicate+n.Duplicate
		m.Missing, m.LeftOut, m.Rebound = m.Missing+n.Missing, m.LeftOut+n.LeftOut, m.Rebound+n.Rebound
		j.Accounts = append(j.Accounts, e)
	}
	return Encode(w, j)
}

// Text writes the summary for a person. With brief only what needs attention
// is written.
func (s *Summary) Text(w io.Writer, p *phrase.Printer, brief bool) error {
	t := &text{w: bufio.NewWriter(w), p: p}
	if !brief {
		t.lines("", p.Text(phrase.StatusArchive, phrase.Args{"Path": s.Archive}))
	}
	if s.Written.IsZero() {
		t.lines("", p.Text(phrase.StatusNoRun))
		if s.limit == 0 {
			return t.w.Flush()
		}
	}
	for _, a := range s.Accounts {
		if brief && !a.Overdue && a.Verdict == Complete {
			continue
		}
		s.account(t, a)
	}
	return t.w.Flush()
}

func (s *Summary) account(t *text, a AccountSummary) {
	t.w.WriteByte('\n')
	t.lines("", t.p.Text(phrase.ReportAccount, a.about().args(nil)))
	if a.Never {
		t.lines(indent, t.p.Text(phrase.StatusNever))
	} else {
		// Before an account was listed once, "0 of 0" would be no count.
		if a.Messages.Server > 0 || a.LastComplete != nil {
			t.lines(indent, t.p.Text(phrase.StatusHeld, phrase.Args{"N": a.Messages.Held, "Server": a.Messages.Server,
				"Missing": a.Messages.Missing, "LeftOut": a.Messages.LeftOut}))
		}
		if a.Newest != nil {
			t.lines(indent, t.p.Text(phrase.StatusNewest, phrase.Args{"Date": t.p.Moment(*a.Newest)}))
		}
		s.runs(t, a)
	}
	if a.Protocol == "pop3" {
		t.lines(indent, t.p.Text(phrase.PopNever))
	}
	if a.Overdue {
		t.lines(indent, t.p.Text(phrase.StatusOverdue, phrase.Args{"Limit": t.p.Duration(s.limit)}))
	}
}

func (s *Summary) runs(t *text, a AccountSummary) {
	when := func(at time.Time) phrase.Args {
		return phrase.Args{"Date": t.p.Moment(at), "Age": t.p.Age(s.now.Sub(at))}
	}
	if a.LastComplete == nil {
		t.lines(indent, t.p.Text(phrase.StatusNeverComplete))
	} else {
		t.lines(indent, t.p.Text(phrase.StatusLastComplete, when(*a.LastComplete)))
	}
	if a.Verdict == Complete {
		return
	}
	t.lines(indent, t.p.Text(phrase.StatusLastRun, when(a.LastRun)))
	switch {
	case a.Class == "":
	case a.Class == ClassSecret:
		// Its sentences name a file or a command, which are not remembered.
		t.lines(indent, t.p.Text(phrase.StatusNoPassword))
	case a.Class == ClassArchive:
		t.known("archive."+a.Error, phrase.Args{"Path": s.Archive, "Text": "", "Cause": ""})
	default:
		t.known(string(sessionKey(t.p, a.Class, a.Error)), a.about().args(phrase.Args{
			"Cause": "", "Names": "", "From": "", "Until": "", "When": "", "Now": t.p.Moment(a.LastRun)}))
	}
}

// known writes what is wrong if there is a sentence for it.
func (t *text) known(key string, args phrase.Args) {
	if k := phrase.Key(key + ".what"); t.p.Has(k) {
		t.lines(indent, t.p.Text(k, args))
	}
}

func (a AccountStatus) about() About {
	return About{Name: a.Name, Protocol: a.Protocol, Host: a.Host, Port: a.Port, User: a.User}
}

// A Search says where a message is held.
type Search struct {
	Archive   string
	MessageID string
	Places    []archive.Place
}

// NewSearch is the result of looking a Message-ID up.
func NewSearch(archivePath, messageID string, places []archive.Place) *Search {
	return &Search{Archive: archivePath, MessageID: messageID, Places: places}
}

// held reports whether one of the files is there.
func (s *Search) held() bool {
	for _, p := range s.Places {
		if p.Present {
			return true
		}
	}
	return false
}

// Exit is 0 if the message is held, else 1.
func (s *Search) Exit() int {
	if s.held() {
		return ExitComplete
	}
	return ExitIncomplete
}

type jsonSearch struct {
	Version   int         `json:"version"`
	Command   string      `json:"command"`
	Archive   string      `json:"archive"`
	MessageID string      `json:"message_id"`
	Held      bool        `json:"held"`
	Exit      int         `json:"exit"`
	Places    []jsonPlace `json:"places"`
}

type jsonPlace struct {
	Account string     `json:"account"`
	Mailbox string     `json:"mailbox"`
	Path    string     `json:"path"`
	Offset  int64      `json:"offset"`
	Stored  *time.Time `json:"stored"`
	Date    *time.Time `json:"date"`
	Present bool       `json:"present"`
}

// JSON writes the result as one object.
func (s *Search) JSON(w io.Writer, _ *phrase.Printer) error {
	j := jsonSearch{Version: Version, Command: "status", Archive: s.Archive, MessageID: safe.Text(s.MessageID, maxName),
		Held: s.held(), Exit: s.Exit(), Places: []jsonPlace{}}
	for _, p := range s.Places {
		j.Places = append(j.Places, jsonPlace{p.Account, safe.Text(p.Mailbox, maxName), p.Path, p.Offset, known(p.Stored), known(p.Date), p.Present})
	}
	return Encode(w, j)
}

// Text writes the result for a person.
func (s *Search) Text(w io.Writer, p *phrase.Printer) error {
	t := &text{w: bufio.NewWriter(w), p: p}
	key := phrase.SearchHeld
	switch {
	case len(s.Places) == 0:
		key = phrase.SearchNone
	case !s.held():
		key = phrase.SearchLost
	}
	t.lines("", p.Text(key, phrase.Args{"MessageID": s.MessageID}))
	for _, place := range s.Places {
		args := phrase.Args{"Account": place.Account, "Mailbox": place.Mailbox, "Path": place.Path, "Stored": p.Moment(place.Stored), "Date": ""}
		if !place.Date.IsZero() {
			args["Date"] = p.Moment(place.Date)
		}
		k := phrase.SearchPlace
		if !place.Present {
			k = phrase.SearchPlaceLost
		}
		t.lines(indent, p.Text(k, args))
	}
	return t.w.Flush()
}
