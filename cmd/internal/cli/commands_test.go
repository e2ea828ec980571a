package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
)

// newTestApp is an app that speaks lang and writes nowhere.
func newTestApp(lang phrase.Lang) *app {
	return &app{Stdio: Stdio{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, p: phrase.New(lang)}
}

var (
	backquoted = regexp.MustCompile("`((?:go run \\./cmd/)?fumibako(?: [^`]*)?)`")
	bareLine   = regexp.MustCompile(`(?m)^\s*(?:\$ )?((?:go run \./cmd/)?fumibako(?: .*)?)$`)
)

// split divides a command line as a shell would, as far as our examples need.
func split(line string) []string {
	var out []string
	quote, word, open := rune(0), "", false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ' || r == '\t':
			if open || word != "" {
				out = append(out, word)
			}
			word, open = "", false
		case r == '#' && word == "":
			return out
		default:
			word += string(r)
		}
	}
	if open || word != "" {
		out = append(out, word)
	}
	return out
}

// parses holds a command line against the real command tree.
func parses(line string) error {
	words := split(strings.TrimPrefix(line, "go run ./cmd/"))
	root := newTestApp(phrase.English).root()
	cmd, rest, err := root.Find(words[1:])
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func TestEveryQuotedCommandParses(t *testing.T) {
	found := 0
	check := func(where, text string, bare bool) {
		t.Helper()
		hits := backquoted.FindAllStringSubmatch(text, -1)
		if bare {
			hits = append(hits, bareLine.FindAllStringSubmatch(text, -1)...)
		}
		for _, hit := range hits {
			found++
			if err := parses(hit[1]); err != nil {
				t.Errorf("%s: %s: %v", where, hit[1], err)
			}
		}
	}
	for _, lang := range phrase.Langs {
		p := phrase.New(lang)
		for _, key := range phrase.Keys() {
			// Usage lines show what may stand where, in brackets.
			bare := strings.HasSuffix(string(key), ".example") || key == phrase.WelcomePullHow
			check(string(lang)+" "+string(key), p.Text(key), bare)
		}
	}
	if found < 40 {
		t.Errorf("only %d commands found", found)
	}
	for _, name := range []string{"README.md", "README.ja.md"} {
		octets, err := os.ReadFile("../../../" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a source tree without its README still is one
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range strings.Split(string(octets), "```") {
			// Every second piece is a fenced block; elsewhere a line that begins
			// with the name of the program is prose.
			check(name, text, i%2 == 1)
		}
	}
}

func TestParsesFindsMistakes(t *testing.T) {
	for _, line := range []string{"fumibako pul", "fumibako pull --too DIR", "fumibako demo x", "fumibako status --max-age", "fumibako import"} {
		if parses(line) == nil {
			t.Errorf("%s: taken for a command", line)
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, lang := range phrase.Langs {
		a := newTestApp(lang)
		root := a.root()
		for _, cmd := range append(root.Commands(), root) {
			if cmd.Hidden {
				continue
			}
			for _, part := range []string{"long", "usage", "example"} {
				if k := helpKey(cmd, part); !a.p.Has(k) && !(part == "example" && cmd.Name() == "version") {
					t.Errorf("no phrase for %s", k)
				}
			}
			if k := helpKey(cmd, "short"); cmd.HasParent() && !a.p.Has(k) {
				t.Errorf("no phrase for %s", k)
			}
			text := a.help(cmd)
			for _, want := range []string{"fumibako", "130", "--lang"} {
				if !strings.Contains(text, want) {
					t.Errorf("help of %q lacks %q:\n%s", cmd.Name(), want, text)
				}
			}
			cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				if f.Usage == "" {
					t.Errorf("--%s of %s has no explanation", f.Name, cmd.Name())
				}
			})
		}
	}
}

func TestOnlyTheFirstReleaseIsShown(t *testing.T) {
	var names []string
	for _, cmd := range newTestApp(phrase.English).root().Commands() {
		if !cmd.Hidden {
			names = append(names, cmd.Name())
		}
	}
	if got, want := strings.Join(names, " "), "completion demo pull status verify version"; got != want {
		t.Errorf("commands are %s, want %s", got, want)
	}
}

func TestFetchIsPull(t *testing.T) {
	root := newTestApp(phrase.English).root()
	if cmd, _, err := root.Find([]string{"fetch"}); err != nil || cmd.Name() != "pull" {
		t.Errorf("fetch leads to %v, %v", cmd, err)
	}
	if strings.Contains(newTestApp(phrase.English).help(root), "\n  fetch") {
		t.Error("the alias is shown")
	}
}

func TestUsageErrorsHaveTypes(t *testing.T) {
	for _, args := range [][]string{{"pull", "--nope"}, {"pull", "-x"}, {"--jobs=a", "status"}, {"status", "--max-age"}, {"pull", "--=x"}} {
		root := newTestApp(phrase.English).root()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		_, err := root.ExecuteC()
		if err == nil || !isUsage(err) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestCompletionIsWritten(t *testing.T) {
	for _, shell := range shells {
		var out strings.Builder
		a := newTestApp(phrase.English)
		a.Out = &out
		root := a.root()
		root.SetArgs([]string{"completion", shell})
		root.SetOut(&out)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), "fumibako") {
			t.Errorf("%s: %v", shell, err)
		}
	}
}
