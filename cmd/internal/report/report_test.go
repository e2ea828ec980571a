package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/secret"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

func TestMain(m *testing.M) {
	time.Local = time.FixedZone("JST", 9*3600)
	os.Exit(m.Run())
}

func complete() Outcome {
	return Outcome{About: About{Name: "office", Protocol: "imap"}, Ledger: &fetch.Ledger{ListedAll: true,
		Mailboxes: []fetch.MailboxLedger{{Name: "INBOX", Server: 3, Held: 3, New: 1}}}}
}

func missing() Outcome {
	return Outcome{About: About{Name: "home", Protocol: "imap"}, Ledger: &fetch.Ledger{ListedAll: true,
		Mailboxes: []fetch.MailboxLedger{{Name: "INBOX", Server: 3, Held: 2, Missing: []fetch.Named{{UID: "7", Octets: -1, Reason: "refused"}}}}}}
}

func failed(err error) Outcome { return Outcome{About: About{Name: "x", Protocol: "imap"}, Err: err} }

func ended(err error) Outcome {
	return Outcome{About: About{Name: "y", Protocol: "imap"}, Ledger: &fetch.Ledger{Err: err, ListedAll: true,
		Mailboxes: []fetch.MailboxLedger{{Name: "INBOX", Server: 3, Held: 3}}}}
}

func sess(class session.Class, reason string) error {
	return &session.Error{Class: class, Reach: session.ReachAccount, Reason: reason}
}

func TestVerdictAndExit(t *testing.T) {
	full := &archive.Error{Code: archive.CodeFull}
	for _, tc := range []struct {
		name     string
		outcomes []Outcome
		err      error
		verdict  Verdict
		exit     int
	}{
		{name: "complete", outcomes: []Outcome{complete()}, verdict: Complete, exit: 0},
		{name: "missing", outcomes: []Outcome{complete(), missing()}, verdict: Incomplete, exit: 1},
		{name: "network", outcomes: []Outcome{failed(sess(session.ClassNetwork, "timeout"))}, verdict: Failed, exit: 1},
		{name: "one of two failed", outcomes: []Outcome{complete(), failed(sess(session.ClassNetwork, "timeout"))}, verdict: Incomplete, exit: 1},
		{name: "busy", outcomes: []Outcome{failed(sess(session.ClassBusy, "in-use"))}, verdict: Failed, exit: 1},
		{name: "login", outcomes: []Outcome{failed(sess(session.ClassAuth, "login-refused"))}, verdict: Failed, exit: 4},
		{name: "login kept", outcomes: []Outcome{failed(sess2(&Kept{}))}, verdict: Failed, exit: 4},
		{name: "certificate", outcomes: []Outcome{failed(sess(session.ClassTLS, "cert-expired"))}, verdict: Failed, exit: 4},
		{name: "handshake", outcomes: []Outcome{failed(sess(session.ClassTLS, "tls-handshake"))}, verdict: Failed, exit: 1},
		{name: "no password", outcomes: []Outcome{failed(sess2(&secret.Error{Code: secret.CodeNone}))}, verdict: Failed, exit: 4},
		{name: "password broken off", outcomes: []Outcome{failed(sess2(&secret.Error{Code: secret.CodeCancelled, Err: context.Canceled}))},
			verdict: Failed, exit: 130},
		{name: "login before missing", outcomes: []Outcome{missing(), failed(sess(session.ClassAuth, "x"))}, verdict: Incomplete, exit: 4},
		{name: "archive before login", outcomes: []Outcome{ended(full), failed(sess(session.ClassAuth, "x"))}, verdict: Incomplete, exit: 3},
		{name: "interrupted before all", outcomes: []Outcome{ended(full), ended(errors.Join(sess(session.ClassNetwork, "closed"), context.Canceled))},
			verdict: Incomplete, exit: 130},
		{name: "never begun", outcomes: []Outcome{complete(), {}}, verdict: Incomplete, exit: 130},
		{name: "held, but the session ended early", outcomes: []Outcome{ended(sess(session.ClassNetwork, "closed"))}, verdict: Incomplete, exit: 1},
		{name: "status not written", outcomes: []Outcome{complete()}, err: full, verdict: Incomplete, exit: 3},
		{name: "not everything listed", outcomes: []Outcome{{Ledger: &fetch.Ledger{}}}, verdict: Incomplete, exit: 1},
		{name: "a mailbox failed", outcomes: []Outcome{{Ledger: &fetch.Ledger{ListedAll: true,
			Mailboxes: []fetch.MailboxLedger{{Err: sess(session.ClassMissing, "nonexistent")}}}}}, verdict: Incomplete, exit: 1},
		{name: "a hole in the ledger", outcomes: []Outcome{{Ledger: &fetch.Ledger{ListedAll: true,
			Mailboxes: []fetch.MailboxLedger{{Server: 4, Held: 3}}}}}, verdict: Incomplete, exit: 1},
		{name: "left out by choice", outcomes: []Outcome{{Ledger: &fetch.Ledger{ListedAll: true,
			Mailboxes: []fetch.MailboxLedger{{Server: 4, Held: 3, LeftOut: 1}}}}}, verdict: Complete, exit: 0},
		{name: "usage", err: &Usage{Key: phrase.UsageMixed}, verdict: Failed, exit: 2},
		{name: "configuration", err: &config.Error{Code: config.CodeSyntax}, verdict: Failed, exit: 2},
		{name: "archive", err: &archive.Error{Code: archive.CodeLocked}, verdict: Failed, exit: 3},
		{name: "something else", err: errors.New("x"), verdict: Failed, exit: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := New("pull", "/a", time.Now(), time.Now(), tc.outcomes, nil, tc.err)
			if got := r.Verdict(); got != tc.verdict {
				t.Errorf("verdict %s, want %s", got, tc.verdict)
			}
			if got := r.Exit(); got != tc.exit {
				t.Errorf("exit code %d, want %d", got, tc.exit)
			}
			// A verdict line that claims completeness and the exit code 0 go together.
			for _, lang := range phrase.Langs {
				line := r.VerdictLine(phrase.New(lang))
				good := strings.HasPrefix(line, "Complete") || strings.HasPrefix(line, "完了")
				if good != (tc.exit == 0) || strings.Contains(line, "\n") {
					t.Errorf("exit code %d says %q", tc.exit, line)
				}
			}
		})
	}
}

// sess2 wraps err as a session does that could not get a secret.
func sess2(err error) error {
	return &session.Error{Class: session.ClassLocal, Reach: session.ReachAccount, Reason: "secret-unavailable", Err: err}
}

// example is a run with everything in it.
func example() *Run {
	began := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	imap := Outcome{About: About{Name: "office", Protocol: "imap", Host: "imap.example.jp", Port: 993, User: "taro@example.jp"}, Ledger: &fetch.Ledger{
		ListedAll: true, Newest: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		Facts: fetch.Facts{Protocol: "imap", KeepsFlags: true, ServerText: "Down on Sunday\x1b[31m"},
		Mailboxes: []fetch.MailboxLedger{
			{Name: "INBOX", Server: 1203, Held: 1200, New: 12, Duplicate: 1, NewOctets: 1_234_567, CopyOctets: 400_000, Flags: 2, Missing: []fetch.Named{
				{UID: "77", Octets: 12345, Date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), From: "=?UTF-8?B?5bGx55Sw?= <yamada@example.jp>",
					Subject: "Angebot \x1b[2J 1", Reason: "body-nil", Server: "NO [SERVERBUG] try\r\nlater"},
				{UID: "", Octets: -1, Reason: "not-reached"},
				{UID: "", Octets: -1, Reason: "not-reached"},
			}},
			{Name: "送信済み", SpecialUse: `\Sent`, Server: 34, Held: 34, Unchanged: true},
			{Name: "Junk", SpecialUse: `\Junk`, Server: 9, LeftOut: 9, Excluded: true},
			{Name: "仕事/見積", Err: sess(session.ClassMissing, "nonexistent")},
		}}}
	pop := Outcome{About: About{Name: "shop", Protocol: "pop3", Host: "pop.example.jp", Port: 995, User: "shop"}, Ledger: &fetch.Ledger{
		ListedAll: true, Oldest: time.Date(2025, 12, 31, 20, 0, 0, 0, time.UTC),
		Facts:     fetch.Facts{Protocol: "pop3", NoUniqueID: true, ExpireDays: 30},
		Mailboxes: []fetch.MailboxLedger{{Name: "INBOX", Server: 1, Held: 1, Rebound: 1, Gone: []fetch.Named{{UID: "\x00header ab 5", Octets: 5, Reason: "gone"}}}}}}
	down := failed(&session.Error{Class: session.ClassAuth, Reason: "login-refused", Server: "NO [AUTHENTICATIONFAILED] no\x07"})
	down.About = About{Name: "old", Protocol: "imap", Host: "imap.example.net", Port: 993, User: "old"}
	return New("pull", "/mail", began, began.Add(90*time.Second), []Outcome{imap, pop, down},
		[]archive.Note{{Code: archive.NoteIndexRebuilt}, {Code: archive.NoteTornMessage, Path: "r", N: 2}}, nil)
}

func TestText(t *testing.T) {
	for _, lang := range phrase.Langs {
		var out bytes.Buffer
		if err := example().Text(&out, phrase.New(lang), false); err != nil {
			t.Fatal(err)
		}
		golden(t, "run-"+string(lang)+".txt", out.Bytes())
		if bytes.ContainsAny(out.Bytes(), "\x1b\x07\r\x00") {
			t.Error("a control character came through")
		}
	}
}

func TestTextBrief(t *testing.T) {
	var out bytes.Buffer
	if err := New("pull", "/a", time.Now(), time.Now(), []Outcome{complete()}, nil, nil).Text(&out, phrase.New(phrase.English), true); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "Complete: all 3 messages are held (1 new).\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if os.Getenv("FUMIBAKO_GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; FUMIBAKO_GOLDEN=1 writes it anew):\n%s", name, diff)
	}
}

func TestJSON(t *testing.T) {
	var texts [2][]byte
	for i, lang := range phrase.Langs {
		var out bytes.Buffer
		if err := example().JSON(&out, phrase.New(lang)); err != nil {
			t.Fatal(err)
		}
		texts[i] = out.Bytes()
	}
	golden(t, "run.json", texts[0])
	// Without the sentences both languages give the same object.
	var plain [2]any
	for i := range texts {
		if err := json.Unmarshal(texts[i], &plain[i]); err != nil {
			t.Fatal(err)
		}
		strip(plain[i])
	}
	if diff := cmp.Diff(plain[0], plain[1]); diff != "" {
		t.Errorf("identifiers depend on the language:\n%s", diff)
	}
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "text")
		delete(v, "hint")
		for _, w := range v {
			strip(w)
		}
	case []any:
		for _, w := range v {
			strip(w)
		}
	}
}

func TestNamesAreBounded(t *testing.T) {
	o := missing()
	m := &o.Ledger.Mailboxes[0]
	m.Server, m.Held, m.Missing = 5000, 0, nil
	for range 5000 {
		m.Missing = append(m.Missing, fetch.Named{UID: "1", Octets: 1, Reason: "interrupted"})
	}
	var out bytes.Buffer
	r := New("pull", "", time.Now(), time.Now(), []Outcome{o}, nil, nil)
	if err := r.Text(&out, phrase.New(phrase.English), false); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n > 20 || !strings.Contains(out.String(), "- 5,000 messages: not reached") || strings.Contains(out.String(), "UID 1") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	for i := range m.Missing[:100] {
		m.Missing[i].Reason = "body-nil"
	}
	out.Reset()
	if err := r.Text(&out, phrase.New(phrase.English), false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"and 50 more: the server has no content for it", "- 4,900 messages: not reached"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
	for i := range m.Missing[:100] {
		m.Missing[i].Reason = "interrupted"
	}
	out.Reset()
	if err := r.JSON(&out, phrase.New(phrase.English)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `"reason": "interrupted"`); n != 5000 {
		t.Errorf("%d of 5000 named", n)
	}
}

func TestExplainExcerpt(t *testing.T) {
	c := Explain(phrase.New(phrase.Japanese), &config.Error{File: "C:/x/config.toml", Line: 12, Column: 3, Excerpt: `件 hst = "a"`, Code: config.CodeUnknownKey,
		Args: map[string]any{"key": "hst", "table": "account", "suggestion": "host", "belongs": ""}}, About{})
	var out bytes.Buffer
	if err := c.Write(&out, phrase.New(phrase.Japanese)); err != nil {
		t.Fatal(err)
	}
	want := "C:/x/config.toml:12:3: [account] に hst という項目はありません。\n" +
		"  12 | 件 hst = \"a\"\n" +
		"     |    ^\n" +
		"→ host の間違いではありませんか。\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestExplainKnowsEveryKind(t *testing.T) {
	for _, tc := range []struct {
		name         string
		err          error
		class, error string
		text         string // part of the English sentence
	}{
		{"port is no number", sess(session.ClassNetwork, "timeout"), "network", "timeout", "port 10143"},
		{"auth refused is no refused connection", sess(session.ClassAuth, "refused"), "auth", "refused", "user name or the password"},
		{"connection refused", sess(session.ClassNetwork, "refused"), "network", "refused", "nobody answers"},
		{"unknown reason", sess(session.ClassQuota, "never-heard"), "quota", "never-heard", "limit"},
		{"kept", sess2(&Kept{When: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)}), "auth", "refused-before", "2026-01-02 12:04"},
		{"secret", sess2(&secret.Error{Code: secret.CodeNone, Args: map[string]any{"account": "office"}}), "secret", "no-secret", "office: there is no password"},
		{"cancelled", errors.Join(sess(session.ClassNetwork, "closed"), context.Canceled), "interrupted", "interrupted", "stopped"},
		{"archive", &archive.Error{Code: archive.CodeLocked, Path: "/mail", Text: "pull, process 7"}, "archive", "archive-locked", "pull, process 7"},
		{"file system", &archive.Error{Code: archive.CodeIO, Path: "/mail", Err: &os.PathError{Op: "open", Path: "/secret/place", Err: os.ErrPermission}},
			"archive", "archive-io", "(/mail): permission denied"},
		{"else", errors.New("strange"), "local", "unexpected", "strange"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Explain(phrase.New(phrase.English), tc.err, About{Name: "office", Host: "imap.example.jp", Port: 10143, Protocol: "imap", User: "taro"})
			if c.Class != tc.class || c.Error != tc.error || !strings.Contains(c.What, tc.text) || c.Hint == "" {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestStatusMerge(t *testing.T) {
	s := ReadStatus([]byte("garbage"))
	r := example()
	s.Merge(r)
	office, _ := s.Account("office")
	if office.Verdict != Incomplete || office.LastComplete != nil || office.Messages.Held != 1234 || office.Newest == nil {
		t.Errorf("%+v", office)
	}
	if old, _ := s.Account("old"); old.Class != "auth" || old.Error != "login-refused" || old.Verdict != Failed {
		t.Errorf("%+v", old)
	}
	shop, _ := s.Account("shop")
	if shop.LastComplete == nil || !shop.LastComplete.Equal(r.Ended) || shop.Scope != "server" {
		t.Errorf("%+v", shop)
	}

	// A later run of another account, read back from disk, forgets nothing; one
	// that fails keeps the last complete run and the counts.
	octets, err := s.Octets()
	if err != nil {
		t.Fatal(err)
	}
	s = ReadStatus(octets)
	later := r.Ended.Add(time.Hour)
	down := failed(sess(session.ClassNetwork, "timeout"))
	down.About = r.Accounts[1].About
	s.Merge(New("pull", "", later, later, []Outcome{down}, nil, nil))
	shop, _ = s.Account("shop")
	if shop.LastComplete == nil || !shop.LastComplete.Equal(r.Ended) || !shop.LastRun.Equal(later) || shop.Messages.Held != 1 || shop.Class != "network" {
		t.Errorf("%+v", shop)
	}
	if office, ok := s.Account("office"); !ok || office.Messages.Held != 1234 {
		t.Errorf("%+v", office)
	}

	// Another account under the same name inherits nothing.
	down.Host = "other.example.jp"
	s.Merge(New("pull", "", later, later, []Outcome{down}, nil, nil))
	if shop, _ = s.Account("shop"); shop.LastComplete != nil || shop.Messages.Held != 0 {
		t.Errorf("%+v", shop)
	}
}

func TestSummary(t *testing.T) {
	r := example()
	s := &Status{}
	s.Merge(r)
	now := r.Ended.Add(30 * time.Hour)
	accounts := []About{r.Accounts[0].About, r.Accounts[1].About, {Name: "new", Protocol: "imap", Host: "h", User: "u"}}
	sum := NewSummary("/mail", s, accounts, now, 26*time.Hour)
	if sum.Exit() != ExitIncomplete || sum.Verdict() != Incomplete {
		t.Errorf("%d %s", sum.Exit(), sum.Verdict())
	}
	if sum := NewSummary("/mail", s, accounts[1:2], now, 31*time.Hour); sum.Exit() != ExitComplete || sum.Verdict() != Complete {
		t.Errorf("%d %s", sum.Exit(), sum.Verdict())
	}
	if sum := NewSummary("/mail", s, accounts, now, 0); sum.Exit() != ExitComplete {
		t.Error("a status without a limit is an answer")
	}
	for _, lang := range phrase.Langs {
		var out bytes.Buffer
		if err := sum.Text(&out, phrase.New(lang), false); err != nil {
			t.Fatal(err)
		}
		golden(t, "status-"+string(lang)+".txt", out.Bytes())
	}
	var out bytes.Buffer
	if err := sum.JSON(&out, phrase.New(phrase.English)); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", out.Bytes())

	// Where no run has ended, nothing is complete, and with a limit all is overdue.
	none := NewSummary("/mail", &Status{}, nil, now, 26*time.Hour)
	if none.Exit() != ExitIncomplete || none.Verdict() != Incomplete {
		t.Errorf("no run: %d %s", none.Exit(), none.Verdict())
	}
}

// TestSummarySaysWhy demands the sentence that the run itself printed, as far as
// its parts are remembered.
func TestSummarySaysWhy(t *testing.T) {
	about := About{Name: "office", Protocol: "imap", Host: "imap.example.jp", Port: 993, User: "taro"}
	refused := sess(session.ClassAuth, "refused")
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"closed port", sess(session.ClassNetwork, "refused"), "nobody answers at port 993"},
		{"login", refused, "refused the user name or the password (taro)"},
		{"refused before", &Kept{When: time.Now()}, "refused this password; it was not tried again"},
		{"clock", sess(session.ClassTLS, "cert-not-yet-valid"), "not valid yet"},
		{"no password", &secret.Error{Code: secret.CodeCommandFailed, Args: map[string]any{"account": "office", "command": "pass", "status": 1}}, "There was no password"},
		{"full", &archive.Error{Code: archive.CodeFull, Path: "/mail"}, "/mail"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &Status{}
			now := time.Now()
			s.Merge(New("pull", "/mail", now, now, []Outcome{{About: about, Err: tc.err}}, nil, nil))
			var out bytes.Buffer
			if err := NewSummary("/mail", s, nil, now, 0).Text(&out, phrase.New(phrase.English), false); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); !strings.Contains(got, tc.want) || strings.Contains(got, "no value") || strings.Contains(got, "0 of 0") {
				t.Errorf("want %q in:\n%s", tc.want, got)
			}
		})
	}
}

func TestSearch(t *testing.T) {
	place := archive.Place{Account: "office", Mailbox: "送信済み", Path: "office/送信済み/cur/1", Stored: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Present: true}
	lost := place
	lost.Present = false
	for _, tc := range []struct {
		name   string
		places []archive.Place
		exit   int
		text   string
	}{
		{"held", []archive.Place{place, lost}, 0, "<a@b> is held.\n  office / 送信済み, held since 2026-01-01 09:00: office/送信済み/cur/1\n"},
		{"lost", []archive.Place{lost}, 1, "is no longer there"},
		{"none", nil, 1, "<a@b> is not held.\n"},
	} {
		s := NewSearch("/mail", "<a@b>", tc.places)
		var out bytes.Buffer
		if err := s.Text(&out, phrase.New(phrase.English)); err != nil {
			t.Fatal(err)
		}
		if s.Exit() != tc.exit || !strings.Contains(out.String(), tc.text) {
			t.Errorf("%s: %d\n%s", tc.name, s.Exit(), out.String())
		}
	}
}

func TestVerified(t *testing.T) {
	now := time.Now()
	finding := archive.Finding{Path: "office/INBOX/cur/1", Subject: "=?ISO-2022-JP?B?GyRCPXFOYBsoQg==?=", From: "a@b", MessageID: "<1@b>"}
	box := archive.MailboxVerification{Account: "office", Mailbox: "INBOX", Messages: 4, Octets: 4000, Sound: 2, NotCompared: 1,
		Altered: []archive.Finding{finding}, Lost: []archive.Finding{finding}, Foreign: []archive.Finding{finding}}
	sound := archive.MailboxVerification{Account: "office", Mailbox: "送信済み", Messages: 1, Octets: 10, Sound: 1, Foreign: []archive.Finding{finding}}
	for _, tc := range []struct {
		name  string
		found *archive.Verification
		run   *Run
		err   error
		exit  int
		line  string
	}{
		{"sound", &archive.Verification{Mailboxes: []archive.MailboxVerification{sound}}, nil, nil, 0, "Sound: the 1 message"},
		{"unsound", &archive.Verification{Mailboxes: []archive.MailboxVerification{box, sound}}, nil, nil, 1, "Not sound: 3 of 5 messages"},
		{"stopped", nil, nil, context.Canceled, 130, "Stopped"},
		{"failed", nil, nil, &archive.Error{Code: archive.CodeIO}, 3, "Failed"},
		{"repair without login", &archive.Verification{Mailboxes: []archive.MailboxVerification{sound}},
			New("verify", "", now, now, []Outcome{failed(sess(session.ClassAuth, "x"))}, nil, nil), nil, 4, "The files are sound"},
		{"repaired", &archive.Verification{Rebuilt: true, Mailboxes: []archive.MailboxVerification{sound}},
			New("verify", "", now, now, []Outcome{complete()}, nil, nil), nil, 0, "Sound"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := NewVerified("/mail", now, now, tc.found, nil, tc.err)
			v.Run = tc.run
			if v.Exit() != tc.exit || !strings.HasPrefix(v.VerdictLine(phrase.New(phrase.English)), tc.line) {
				t.Errorf("%d %s", v.Exit(), v.VerdictLine(phrase.New(phrase.English)))
			}
			var out bytes.Buffer
			if err := v.JSON(&out, phrase.New(phrase.English)); err != nil || !json.Valid(out.Bytes()) {
				t.Errorf("%v\n%s", err, out.Bytes())
			}
		})
	}
	var out bytes.Buffer
	v := NewVerified("/mail", now, now, &archive.Verification{Rebuilt: true, Mailboxes: []archive.MailboxVerification{box, sound}}, nil, nil)
	if err := v.Text(&out, phrase.New(phrase.Japanese), false); err != nil {
		t.Fatal(err)
	}
	golden(t, "verify-ja.txt", out.Bytes())
}

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{"": 0, "INBOX": 5, "送信済み": 8, "ｱ": 1, "が": 2, "é": 1, "📮": 2, "…": 1} {
		if got := Width(s); got != want {
			t.Errorf("%q is %d wide, want %d", s, got, want)
		}
	}
	if got := clip("送信済みメール", 9); Width(got) > 9 || got != "送信済み…" {
		t.Errorf("got %q", got)
	}
}

func TestTableLinesUp(t *testing.T) {
	out := Table("  ", [][]string{{"フォルダー", "保存済み"}, {"INBOX", "12"}, {"仕事", "1,234"}})
	var widths []int
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		widths = append(widths, Width(strings.TrimSpace(line)))
	}
	if out != "  フォルダー  保存済み\n  INBOX             12\n  仕事           1,234\n" {
		t.Errorf("%v\n%s", widths, out)
	}
}

func TestInboxStandsFirst(t *testing.T) {
	list := []fetch.MailboxLedger{{Name: "Trash"}, {Name: "Sent"}, {Name: "Inbox"}, {Name: "Inbox/Old"}}
	var got []string
	for _, m := range inboxFirst(list) {
		got = append(got, m.Name)
	}
	if want := []string{"Inbox", "Trash", "Sent", "Inbox/Old"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if list[0].Name != "Trash" {
		t.Error("the ledger itself was reordered")
	}
}

func TestUnfinishedAccountsStandLast(t *testing.T) {
	refused := Outcome{About: About{Name: "refused", Protocol: "imap"}, Err: sess(session.ClassAuth, "refused")}
	outcomes := []Outcome{refused}
	for range 3 {
		outcomes = append(outcomes, missing())
	}
	fine := Outcome{About: About{Name: "fine", Protocol: "imap"}, Ledger: &fetch.Ledger{ListedAll: true}}
	r := New("pull", "/mail", time.Now(), time.Now(), append(outcomes, fine), nil, nil)
	r.Where = true
	var out bytes.Buffer
	if err := r.Text(&out, phrase.New(phrase.English), false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Index(text, "fine  (") > strings.Index(text, "refused  (") {
		t.Errorf("what needs attention scrolls away:\n%s", text)
	}
	for _, want := range []string{"Archive: /mail\n", "Not complete, 4 of 5 accounts: refused, home"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}

	// What ended the run and an account alike is told once.
	full := &archive.Error{Code: archive.CodeFull, Path: "/mail"}
	r = New("pull", "/mail", time.Now(), time.Now(), []Outcome{{About: About{Name: "office"}, Err: full}}, nil, full)
	r.Where = true
	out.Reset()
	if err := r.Text(&out, phrase.New(phrase.English), false); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), phrase.New(phrase.English).Text("archive.archive-full.what", phrase.Args{"Path": "/mail"})); n != 1 {
		t.Errorf("told %d times:\n%s", n, out.String())
	}
	if strings.Contains(out.String(), "Archive: ") {
		t.Errorf("a run that brought nothing says where it lies:\n%s", out.String())
	}
}

func TestStoppedBeforeAllWasListed(t *testing.T) {
	p := phrase.New(phrase.English)
	full := Outcome{About: About{Name: "a", Protocol: "imap"}, Ledger: &fetch.Ledger{ListedAll: true,
		Mailboxes: []fetch.MailboxLedger{{Name: "INBOX", Server: 3, Held: 3}}}}
	never := Outcome{About: About{Name: "b", Protocol: "imap"}}
	got := New("pull", "", time.Now(), time.Now(), []Outcome{full, never}, nil, nil).VerdictLine(p)
	if strings.Contains(got, "3 of 3") || !strings.Contains(got, "not everything was looked at") {
		t.Errorf("%q reads as if all were held", got)
	}
}
