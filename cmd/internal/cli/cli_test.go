package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
	"github.com/fumibako-mail/fumibako/fetch"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

func isUsage(err error) bool {
	var u *report.Usage
	return errors.As(err, &u)
}

func TestFlagsBeforeParsing(t *testing.T) {
	for _, tc := range []struct {
		args string
		lang string
		json bool
	}{
		{args: ""},
		{args: "--lang ja pull", lang: "ja"},
		{args: "pull --lang=en --json", lang: "en", json: true},
		{args: "pull --json=true", json: true},
		{args: "pull --json=false"},
		{args: "pull --lang"},
		{args: "pull -- --lang ja --json"},
		{args: "pull --language ja"},
		{args: "pull --lang= x"},
	} {
		args := strings.Fields(tc.args)
		if got := flagValue(args, "lang"); got != tc.lang {
			t.Errorf("%s: language %q, want %q", tc.args, got, tc.lang)
		}
		if got := hasFlag(args, "json"); got != tc.json {
			t.Errorf("%s: json %t, want %t", tc.args, got, tc.json)
		}
	}
}

func TestExclusion(t *testing.T) {
	box := func(name, delimiter, use string) fetch.Mailbox {
		return fetch.Mailbox{Name: name, Delimiter: delimiter, SpecialUse: use}
	}
	for _, tc := range []struct {
		name    string
		pattern string
		mailbox fetch.Mailbox
		want    bool
	}{
		{"special use", `\Junk`, box("迷惑メール", "/", `\Junk`), true},
		{"special use in other case", `\junk`, box("Spam", "/", `\Junk`), true},
		{"another special use", `\Junk`, box("Sent", "/", `\Sent`), false},
		{"no special use", `\Junk`, box("Junk", "/", ""), false},
		{"name", "Archive", box("Archive", "/", ""), true},
		{"name in other case", "archive", box("Archive", "/", ""), false},
		{"INBOX in other case", "inbox", box("INBOX", "/", ""), true},
		{"child", "Archive", box("Archive/2025", "/", ""), true},
		{"child by another delimiter", "Archive", box("Archive.2025.01", ".", ""), true},
		{"pattern with hierarchy", "仕事/*", box("仕事.見積", ".", ""), true},
		{"parent of a pattern", "仕事/*", box("仕事", "/", ""), false},
		{"begins alike", "Archive", box("Archive2", "/", ""), false},
		{"star", "*spam*", box("my spam box", "/", ""), true},
		{"no hierarchy", "Archive", box("Archive/2025", "", ""), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := exclusion([]string{"NeverThere", tc.pattern})
			if err != nil {
				t.Fatal(err)
			}
			if got := out(tc.mailbox); got != tc.want {
				t.Errorf("%s leaves out %s: %t, want %t", tc.pattern, tc.mailbox.Name, got, tc.want)
			}
		})
	}
	if out, err := exclusion(nil); out != nil || err != nil {
		t.Error("no pattern leaves something out")
	}
	if _, err := exclusion([]string{"[a"}); !isUsage(err) {
		t.Errorf("a broken pattern: %v", err)
	}
}

func TestWithNames(t *testing.T) {
	known := []archive.Account{
		{Name: "home", Protocol: "imap", Host: "imap.example.jp", User: "taro"},
		{Name: "hanako@example.jp", Protocol: "imap", Host: "old.example.jp", User: "hanako@example.jp"},
	}
	got := withNames([]config.Account{
		{Name: "taro@imap.example.jp", Protocol: "imap", Host: "imap.example.jp", User: "taro"},
		{Name: "hanako@example.jp", Protocol: "imap", Host: "new.example.jp", User: "hanako@example.jp"},
		{Name: "hanako@example.jp", Protocol: "imap", Host: "newer.example.jp", User: "hanako@example.jp"},
		{Name: "jiro@example.jp", Protocol: "pop3", Host: "pop.example.jp", User: "jiro@example.jp"},
	}, known)
	var names []string
	for _, x := range got {
		names = append(names, x.Name)
	}
	want := []string{"home", "hanako@example.jp.imap", "hanako@example.jp.imap-2", "jiro@example.jp"}
	if !slices.Equal(names, want) {
		t.Errorf("got  %v\nwant %v", names, want)
	}
}

func TestAge(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "26h": 26 * time.Hour, "2d": 48 * time.Hour, "0.5d": 12 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := age(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"x", "-1h", "0h", "d", "2 days"} {
		if _, err := age(in); !isUsage(err) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestEstimate(t *testing.T) {
	for _, tc := range []struct {
		name string
		plan fetch.Plan
		rate int64
		want time.Duration
	}{
		{"by the last run", fetch.Plan{Octets: 100 << 20}, 1 << 20, 100 * time.Second},
		{"by a guess", fetch.Plan{Octets: 10 * assumedRate}, 0, 10 * time.Second},
		{"small messages", fetch.Plan{Messages: 5000}, 0, 10 * time.Second},
		{"never nothing", fetch.Plan{Messages: 1, Octets: 10}, 0, time.Second},
	} {
		if got := estimate(tc.plan, tc.rate); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestBlame: when the archive fails, the accounts that were cut short by it say
// so, and not that somebody interrupted them.
func TestBlame(t *testing.T) {
	full := &archive.Error{Code: archive.CodeFull}
	other := &session.Error{Class: session.ClassAuth, Reason: "login-refused"}
	outcomes := []report.Outcome{
		{Ledger: &fetch.Ledger{Err: full}},
		{Ledger: &fetch.Ledger{Err: errors.Join(other, context.Canceled)}},
		{Ledger: &fetch.Ledger{}},
		{Err: other},
		{Err: context.Canceled},
		{},
	}
	blame(outcomes, full)
	for i, want := range []error{full, full, nil, nil, nil, nil} {
		if l := outcomes[i].Ledger; l != nil && l.Err != want {
			t.Errorf("ledger %d: %v, want %v", i, l.Err, want)
		}
	}
	for i, want := range []error{nil, nil, nil, other, full, full} {
		if outcomes[i].Err != want {
			t.Errorf("outcome %d: %v, want %v", i, outcomes[i].Err, want)
		}
	}
	if r := report.New("pull", "", time.Now(), time.Now(), outcomes, nil, nil); r.Exit() != report.ExitArchive {
		t.Errorf("exit code %d", r.Exit())
	}
}

func TestTraceFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := openTrace(path)
	if err != nil {
		t.Fatal(err)
	}
	w := f.of("office")
	for _, s := range []string{"C: a1 ", "NOOP\r\nS: a1 OK", "\r\n"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	octets, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(octets), "office C: a1 NOOP\noffice S: a1 OK\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if none, err := openTrace(""); none != nil || err != nil || none.of("x") != nil || none.Close() != nil {
		t.Error("no trace was asked for")
	}
}

func TestVersionOf(t *testing.T) {
	build := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}}}
	if v, r := versionOf(build, true); v != "v1.2.3" || r != "0123456789ab" {
		t.Errorf("%s %s", v, r)
	}
	if v, _ := versionOf(nil, false); v == "" {
		t.Error("a version is always said")
	}
}

func TestFit(t *testing.T) {
	for _, tc := range []struct {
		text    string
		columns int
	}{
		{"office: 送信済み", 16}, {"office: 送信済み", 13}, {"office: 送信済み", 12}, {"a\nb", 5}, {"office", -3},
	} {
		if got := fit(tc.text, tc.columns); report.Width(got) > max(tc.columns, 0) {
			t.Errorf("fit(%q, %d) = %q is too wide", tc.text, tc.columns, got)
		}
	}
}

func TestProgressOffTerminal(t *testing.T) {
	var err strings.Builder
	a := newTestApp(phrase.Japanese)
	a.Err = &err
	s := a.newScreen()
	s.start()
	one := s.track("office", 0)
	o := one.observer()
	s.draw()
	o.Listing("送信済み", 2, 3)
	s.draw()
	o.Planned(fetch.Plan{Messages: 2, Octets: 4_000_000, Server: 5, Facts: fetch.Facts{ExpiresOnRetr: true}})
	o.Octets(1_000_000)
	o.Message()
	s.draw()
	o.Octets(1_000_000)
	s.first = s.first.Add(-2 * time.Second) // as if it had taken that long
	s.draw()
	s.track("home", 0).plan(fetch.Plan{Messages: 1, Octets: 1, Server: 1})
	one.done()
	s.stop()
	for _, want := range []string{"office: 接続しています\n", "office: 送信済み を調べています（2/3）\n", "EXPIRE 0", "office: 2通を受信します（4.0 MB、サーバーには全部で 5通）",
		"Ctrl-C", "office: 1/2通  1.0 MB / 4.0 MB\n", "office: 1/2通  2.0 MB / 4.0 MB  毎秒 500 kB  残り4秒\n", "home: 1通を受信します"} {
		if !strings.Contains(err.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, err.String())
		}
	}
	if n := strings.Count(err.String(), "Ctrl-C"); n != 1 {
		t.Errorf("the way to stop is told %d times", n)
	}
	if strings.Contains(err.String(), "\r") {
		t.Error("a bar was drawn off a terminal")
	}
}

func TestBarNeverFinishesEarly(t *testing.T) {
	var out strings.Builder
	b := newBar(&out)
	b.set([]string{"office: looking"}, 0, 0)
	for i := range int64(20) {
		b.set([]string{"office"}, i*100, 2000)
	}
	b.set([]string{"office"}, 2500, 2500) // a server that announced too little
	b.set([]string{"office · home"}, 2600, 9000)
	b.clear()
	if b.p.IsFinished() {
		t.Error("a bar that is at its end cannot go on")
	}
	if strings.Contains(out.String(), "\n") {
		t.Errorf("more than one line: %q", out.String())
	}
	var none *bar
	none.clear()
}

func TestLinesWaitForAnAnswer(t *testing.T) {
	var err strings.Builder
	a := newTestApp(phrase.Japanese)
	a.Err = &err
	s := a.newScreen()
	s.ask(func() {
		s.line("another account")
		if err.Len() > 0 {
			t.Errorf("%q runs into the question", err.String())
		}
	})
	if err.String() != "another account\n" {
		t.Errorf("%q", err.String())
	}
}
