package phrase

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"github.com/pelletier/go-toml/v2"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/secret"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// catalogue reads one of the files as it is.
func catalogue(t *testing.T, l Lang) map[Key]*i18n.Message {
	t.Helper()
	octets, err := files.ReadFile(string(l) + ".toml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := i18n.ParseMessageFileBytes(octets, string(l)+".toml", map[string]i18n.UnmarshalFunc{"toml": toml.Unmarshal})
	if err != nil {
		t.Fatal(err)
	}
	out := map[Key]*i18n.Message{}
	for _, m := range f.Messages {
		out[Key(m.ID)] = m
	}
	return out
}

func names(s string) []string {
	out := fieldsOf(s)
	slices.Sort(out)
	return slices.Compact(out)
}

func TestBothLanguagesHaveTheSamePhrases(t *testing.T) {
	en, ja := catalogue(t, English), catalogue(t, Japanese)
	for k, m := range en {
		other := ja[k]
		if other == nil {
			t.Errorf("%s is missing in Japanese", k)
			continue
		}
		if got, want := names(other.Other), names(m.Other); !slices.Equal(got, want) {
			t.Errorf("%s: placeholders in Japanese %v, in English %v", k, got, want)
		}
		if m.One != "" {
			if got, want := names(m.One), names(m.Other); !slices.Equal(got, want) {
				t.Errorf("%s: placeholders of one %v, of other %v", k, got, want)
			}
		}
		if other.One != "" {
			t.Errorf("%s: Japanese has no plural", k)
		}
	}
	for k := range ja {
		if en[k] == nil {
			t.Errorf("%s is missing in English", k)
		}
	}
}

func TestJapaneseIsJapanese(t *testing.T) {
	neutral := []Key{"report.subject", "version.line", "run.hint", "progress.listing", "progress.line", "usage.shell.hint"}
	for k, m := range catalogue(t, Japanese) {
		if strings.HasSuffix(string(k), ".usage") || strings.HasSuffix(string(k), ".example") || slices.Contains(neutral, k) {
			continue
		}
		if !strings.ContainsFunc(m.Other, func(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han) }) {
			t.Errorf("%s = %q", k, m.Other)
		}
	}
}

// constants reads the names of keys.go, so that none can be forgotten.
func constants(t *testing.T) []Key {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "keys.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []Key
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, Key(s))
		}
		return true
	})
	if len(out) < 100 {
		t.Fatalf("only %d keys found in keys.go", len(out))
	}
	return out
}

func TestEveryKeyHasAPhraseAndEveryPhraseAKey(t *testing.T) {
	p := New(English)
	wanted := map[Key]bool{}
	want := func(k Key) {
		t.Helper()
		wanted[k] = true
		if !p.Has(k) {
			t.Errorf("no phrase for %s", k)
		}
	}
	pairs := func(prefix string, codes ...string) {
		t.Helper()
		for _, c := range codes {
			want(Key(prefix + "." + c + ".what"))
			want(Key(prefix + "." + c + ".hint"))
		}
	}
	for _, k := range constants(t) {
		if strings.HasPrefix(string(k), "usage.") {
			pairs("usage", strings.TrimPrefix(string(k), "usage."))
			continue
		}
		want(k)
	}
	pairs("config", config.Codes...)
	pairs("secret", secret.Codes...)
	pairs("archive", archive.Codes...)
	pairs("run", "interrupted", "unexpected", "demo-failed")
	for _, c := range []session.Class{session.ClassNetwork, session.ClassName, session.ClassTLS, session.ClassAuth, session.ClassPolicy,
		session.ClassBusy, session.ClassMissing, session.ClassRefused, session.ClassQuota, session.ClassProtocol, session.ClassLocal} {
		pairs("class", string(c))
	}
	for _, c := range archive.NoteCodes {
		want(Key("note." + c))
	}
	for k := range catalogue(t, English) {
		open := false // chosen by an identifier that is not in a list
		for _, prefix := range []string{"session.", "missing.", "type.", "help."} {
			open = open || strings.HasPrefix(string(k), prefix)
		}
		if !open && !wanted[k] {
			t.Errorf("nothing asks for %s", k)
		}
	}
}

// TestEveryReasonIsCovered reads the sources of the sessions for the reasons
// they give. One without a sentence of its own is said by its class; those that
// a person can do something about must have one.
func TestEveryReasonIsCovered(t *testing.T) {
	p := New(English)
	byClassIsEnough := map[string]bool{}
	for _, r := range []string{"no-secret", "security-unknown", "pop3-library", "session-ended", "sasl-failed", "sasl-mechanism-unknown",
		"secret-unavailable", "secret-empty", "source-closed"} {
		byClassIsEnough[r] = true
	}
	for r, where := range reasons(t, "../../../fetch", "../../../fetch/session") {
		if byClassIsEnough[r] || p.Has(Key("session."+r+".what")) || p.Has(Key("missing."+r)) {
			continue
		}
		t.Errorf("%s: no sentence for the reason %q", where, r)
	}
}

func TestText(t *testing.T) {
	for _, tc := range []struct {
		name string
		lang Lang
		key  Key
		args Args
		want string
	}{
		{name: "one", lang: English, key: HumanBytes, args: Args{"N": 1}, want: "1 byte"},
		{name: "many", lang: English, key: HumanBytes, args: Args{"N": int64(1234567)}, want: "1,234,567 bytes"},
		{name: "none", lang: English, key: HumanBytes, args: Args{"N": 0}, want: "0 bytes"},
		{name: "Japanese has no plural", lang: Japanese, key: HumanBytes, args: Args{"N": 1}, want: "1 バイト"},
		{name: "a port is no number", lang: English, key: "session.timeout.what", args: Args{"Account": "a", "Host": "h", "Port": "10143"},
			want: "a: no answer from h, port 10143."},
		{name: "missing argument", lang: English, key: "session.timeout.what", want: ": no answer from , port ."},
		{name: "unknown key", lang: Japanese, key: "no.such.key", want: "no.such.key"},
		{name: "hostile argument", lang: English, key: ServerSaid, args: Args{"Words": "a\x1b[2J\r\nb\u202ec\xff"},
			want: "The server said: \"a\uFFFD[2J  b\uFFFDc\uFFFD\""},
		{name: "condition", lang: English, key: "archive.archive-locked.what", args: Args{"Path": "/a"}, want: "The archive in /a is in use."},
		{name: "unknown language", lang: "de", key: RowTotal, want: "Total"},
		{name: "no HTML", lang: English, key: SearchNone, args: Args{"MessageID": "<a&b@c>"}, want: "<a&b@c> is not held."},
		{name: "no template in an argument", lang: English, key: SearchNone, args: Args{"MessageID": "{{.Path}}"}, want: "{{.Path}} is not held."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := New(tc.lang).Text(tc.key, tc.args); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestHuman(t *testing.T) {
	en, ja := New(English), New(Japanese)
	for _, tc := range []struct{ got, want string }{
		{en.Octets(999), "999 bytes"},
		{en.Octets(1000), "1.0 kB"},
		{en.Octets(999_949), "1.0 MB"},
		{en.Octets(12_345_678), "12.3 MB"},
		{en.Octets(123_456_789_000), "123 GB"},
		{ja.Octets(12_345_678), "12.3 MB"},
		{en.Octets(0), "0 bytes"},
		{en.Duration(0), "less than a second"},
		{en.Duration(time.Second), "1 second"},
		{en.Duration(200 * time.Second), "3 min 20 s"},
		{ja.Duration(200 * time.Second), "3分20秒"},
		{en.Duration(2*time.Hour + 5*time.Minute), "2 h 5 min"},
		{ja.Duration(50 * time.Hour), "2日"},
		{en.Duration(26 * time.Hour), "26 hours"},
		{ja.Age(90 * time.Minute), "1時間前"},
		{en.Age(10 * time.Second), "just now"},
		{en.Age(72 * time.Hour), "3 days ago"},
		{en.Number(-1234), "-1,234"},
		{en.Number(123), "123"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		name   string
		flag   string
		env    map[string]string
		system string
		want   Lang
		refuse bool
	}{
		{name: "nothing known", want: English},
		{name: "asked for", flag: "ja", env: map[string]string{"LANG": "en_US.UTF-8"}, want: Japanese},
		{name: "asked for in capitals", flag: "EN", env: map[string]string{"LANG": "ja_JP.UTF-8"}, want: English},
		{name: "asked for in vain", flag: "fr", env: map[string]string{"LANG": "ja_JP.UTF-8"}, want: Japanese, refuse: true},
		{name: "LC_ALL comes first", env: map[string]string{"LC_ALL": "ja_JP.UTF-8", "LC_MESSAGES": "en_US", "LANG": "en_US"}, want: Japanese},
		{name: "LC_MESSAGES before LANG", env: map[string]string{"LC_MESSAGES": "ja", "LANG": "en_US"}, want: Japanese},
		{name: "LANG", env: map[string]string{"LANG": "ja_JP.eucJP"}, want: Japanese},
		{name: "C is a decision", env: map[string]string{"LC_ALL": "C"}, system: "ja-JP", want: English},
		{name: "another language", env: map[string]string{"LANG": "de_DE.UTF-8"}, system: "ja-JP", want: English},
		{name: "system, Windows", system: "ja-JP", want: Japanese},
		{name: "system, macOS", system: "ja_JP@calendar=japanese", want: Japanese},
		{name: "system, Javanese", system: "jav", want: English},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Choose(tc.flag, func(n string) string { return tc.env[n] }, func() string { return tc.system })
			if got != tc.want || ok == tc.refuse {
				t.Errorf("got %s, %t; want %s, %t", got, ok, tc.want, !tc.refuse)
			}
		})
	}
}
