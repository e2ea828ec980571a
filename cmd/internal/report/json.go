package report

import (
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
	"github.com/fumibako-mail/fumibako/fetch"
)

// Version is that of the JSON object. Fields are added, never renamed.
const Version = 1

// JSON is the object that --json prints. Numbers of messages are counts,
// Octets the size of what was stored, dates RFC 3339 with a zone.
type JSON struct {
	Version  int           `json:"version"`
	Command  string        `json:"command"`
	Verdict  Verdict       `json:"verdict"`
	Exit     int           `json:"exit"`
	Archive  string        `json:"archive,omitempty"`
	Messages JSONMessages  `json:"messages"`
	Octets   int64         `json:"octets"`
	Seconds  float64       `json:"seconds"`
	Accounts []JSONAccount `json:"accounts"`
	Notes    []JSONNote    `json:"notes,omitempty"`
	JSONFailure
}

// JSONFailure says what ended a run, an account or a mailbox. All fields are
// "" if nothing did.
type JSONFailure struct {
	Class string `json:"class"`
	Error string `json:"error"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	// Words are the server's own, Place and Excerpt those of a configuration.
	Words   string `json:"server_words,omitempty"`
	Place   string `json:"place,omitempty"`
	Excerpt string `json:"excerpt,omitempty"`
}

// JSONMessages counts messages. Server = Held + Missing + LeftOut.
type JSONMessages struct {
	Server    int `json:"server"`
	Held      int `json:"held"`
	New       int `json:"new"`
	Duplicate int `json:"duplicate"`
	Missing   int `json:"missing"`
	LeftOut   int `json:"left_out"`
	Rebound   int `json:"not_compared,omitempty"`
}

// JSONAccount is one account of a run.
type JSONAccount struct {
	Name     string  `json:"name"`
	Protocol string  `json:"protocol"`
	Host     string  `json:"host"`
	User     string  `json:"user"`
	Verdict  Verdict `json:"verdict"`
	Scope    string  `json:"scope"` // "account"; "server" for POP, whose server may not hold all of the account's mail
	JSONFailure
	Messages   JSONMessages  `json:"messages"`
	Octets     int64         `json:"octets"`
	CopyOctets int64         `json:"copy_octets"`
	Oldest     *time.Time    `json:"oldest,omitempty"`
	Newest     *time.Time    `json:"newest,omitempty"`
	Mailboxes  []JSONMailbox `json:"mailboxes"`
}

// JSONMailbox is one mailbox of an account.
type JSONMailbox struct {
	Name       string `json:"name"`
	SpecialUse string `json:"special_use,omitempty"`
	Server     int    `json:"server"`
	Held       int    `json:"held"`
	New        int    `json:"new"`
	Duplicate  int    `json:"duplicate"`
	LeftOut    int    `json:"left_out"`
	Excluded   bool   `json:"excluded,omitempty"`        // left out as a whole, whether or not the server told how many it holds
	Unlisted   int    `json:"missing_unnamed,omitempty"` // missing, beyond those that are named one by one
	Rebound    int    `json:"not_compared,omitempty"`
	Octets     int64  `json:"octets"`
	CopyOctets int64  `json:"copy_octets"`
	JSONFailure
	Missing []JSONNamed `json:"missing"`
	Gone    []JSONNamed `json:"gone,omitempty"`
}

// JSONNamed is a message that is not held.
type JSONNamed struct {
	UID     string     `json:"uid"`
	Octets  *int64     `json:"octets"` // null if the server did not say
	Date    *time.Time `json:"date"`   // null if it is not known
	From    string     `json:"from"`
	Subject string     `json:"subject"`
	Reason  string     `json:"reason"`
	Text    string     `json:"text"`
	Words   string     `json:"server_words,omitempty"`
}

// JSONNote is something that was found and dealt with.
type JSONNote struct {
	Note string `json:"note"`
	Path string `json:"path,omitempty"`
	N    int    `json:"n,omitempty"`
	Text string `json:"text"`
}

// JSON writes the run as one object.
func (r *Run) JSON(w io.Writer, p *phrase.Printer) error {
	return Encode(w, r.object(p))
}

// Encode writes v as one indented JSON object in UTF-8 and a line end.
func Encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (r *Run) object(p *phrase.Printer) *JSON {
	c := r.Counts()
	j := &JSON{
		Version: Version, Command: r.Command, Verdict: r.Verdict(), Exit: r.Exit(), Archive: r.Archive,
		Messages: messages(c), Octets: c.Octets, Seconds: r.Ended.Sub(r.Began).Round(time.Millisecond).Seconds(),
		Accounts: []JSONAccount{}, JSONFailure: FailureOf(p, r.Err, About{}),
	}
	for _, a := range r.Accounts {
		j.Accounts = append(j.Accounts, a.object(p))
	}
	for _, n := range r.Notes {
		j.Notes = append(j.Notes, JSONNote{n.Code, n.Path, n.N, noteText(p, n)})
	}
	return j
}

// FailureOf puts err into the fields of a JSON object; nil gives empty ones.
func FailureOf(p *phrase.Printer, err error, about About) JSONFailure {
	if err == nil {
		return JSONFailure{}
	}
	c := Explain(p, err, about)
	return JSONFailure{Class: c.Class, Error: c.Error, Text: c.What, Hint: c.Hint, Words: c.Server, Place: c.Place, Excerpt: c.Excerpt}
}

func messages(c Counts) JSONMessages {
	return JSONMessages{Server: c.Server, Held: c.Held, New: c.New, Duplicate: c.Duplicate, Missing: c.Missing, LeftOut: c.LeftOut, Rebound: c.Rebound}
}

// scope says what a verdict of complete covers.
func scope(protocol string) string {
	if protocol == "pop3" {
		return "server"
	}
	return "account"
}

func (a Account) object(p *phrase.Printer) JSONAccount {
	j := JSONAccount{
		Name: a.Name, Protocol: a.Protocol, Host: a.Host, User: a.User, Verdict: a.Verdict, Scope: scope(a.Protocol),
		JSONFailure: FailureOf(p, a.failure(), a.About), Messages: messages(a.Counts),
		Octets: a.Counts.Octets, CopyOctets: a.Counts.CopyOctets, Mailboxes: []JSONMailbox{},
	}
	if a.Ledger == nil {
		return j
	}
	j.Oldest, j.Newest = known(a.Ledger.Oldest), known(a.Ledger.Newest)
	for _, m := range a.Ledger.Mailboxes {
		j.Mailboxes = append(j.Mailboxes, JSONMailbox{
			Name: safe.Text(m.Name, maxName), SpecialUse: m.SpecialUse, Server: m.Server, Held: m.Held, New: m.New,
			Duplicate: m.Duplicate, LeftOut: m.LeftOut, Excluded: m.Excluded, Unlisted: m.Unlisted, Rebound: m.Rebound, Octets: m.NewOctets, CopyOctets: m.CopyOctets,
			JSONFailure: FailureOf(p, m.Err, a.About), Missing: namedObjects(p, m.Missing, a.About), Gone: namedObjects(p, m.Gone, a.About),
		})
	}
	return j
}

// maxName bounds a mailbox name in a report. Servers cannot make longer ones
// that a person would recognise.
const maxName = 1000

func namedObjects(p *phrase.Printer, list []fetch.Named, about About) []JSONNamed {
	out := make([]JSONNamed, 0, len(list))
	for _, n := range list {
		j := JSONNamed{
			UID: uid(n), Date: known(n.Date), From: DecodeHeader(n.From), Subject: DecodeHeader(n.Subject),
			Reason: n.Reason, Text: reasonText(p, n, about), Words: safe.Text(strings.TrimSpace(n.Server), maxWords),
		}
		if n.Octets >= 0 {
			j.Octets = &n.Octets
		}
		out = append(out, j)
	}
	return out
}

// uid is the identity the server gave a message, or "" where it gave none: an
// identity of our own making begins with a control character and is nobody's
// business.
func uid(n fetch.Named) string {
	if strings.HasPrefix(n.UID, "\x00") {
		return ""
	}
	return safe.Text(n.UID, maxWords)
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// reasonText is a ledger reason in a few words.
func reasonText(p *phrase.Printer, n fetch.Named, about About) string {
	if key := phrase.Key("missing." + n.Reason); p.Has(key) {
		return p.Text(key)
	}
	if key := phrase.Key("session." + n.Reason + ".what"); p.Has(key) {
		return p.Text(key, about.args(nil))
	}
	return p.Text(phrase.MissingOther, phrase.Args{"Reason": n.Reason})
}
