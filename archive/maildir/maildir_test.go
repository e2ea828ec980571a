package maildir

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	foreign "github.com/emersion/go-maildir"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBase(t *testing.T) {
	got := Base(1780000000, "0123abcd", 4711, 4790)
	if want := "1780000000.R0123abcd.fumibako,S=4711,W=4790"; got != want {
		t.Errorf("Base = %q, want %q", got, want)
	}
	if n, ok := Size(got); n != 4711 || !ok {
		t.Errorf("Size = %d, %v", n, ok)
	}
}

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		name, in, base, info string
		flags                []string
	}{
		{name: "new, without info", in: "1.R1.fumibako,S=2,W=3", base: "1.R1.fumibako,S=2,W=3"},
		{name: "no flags", in: "a:2,", base: "a"},
		{name: "colon", in: "a:2,FS", base: "a", info: "FS", flags: []string{`\Flagged`, `\Seen`}},
		{name: "semicolon", in: "a;2,S", base: "a", info: "S", flags: []string{`\Seen`}},
		{name: "exclamation mark", in: "a!2,T", base: "a", info: "T", flags: []string{`\Deleted`}},
		{name: "all letters, any order", in: "a:2,TSRPFD", base: "a", info: "TSRPFD",
			flags: []string{`\Draft`, `\Flagged`, `$Forwarded`, `\Answered`, `\Seen`, `\Deleted`}},
		{name: "letters of others", in: "a:2,abSz", base: "a", info: "abSz", flags: []string{`\Seen`}},
		{name: "fields after a comma are no flags", in: "a:2,S,FT", base: "a", info: "S,FT", flags: []string{`\Seen`}},
		{name: "a letter twice", in: "a:2,SS", base: "a", info: "SS", flags: []string{`\Seen`}},
		{name: "experimental info", in: "a:1,S", base: "a:1,S"},
		{name: "separator inside the base", in: "a!b:2,S", base: "a!b", info: "S", flags: []string{`\Seen`}},
		{name: "two infos, the last counts", in: "a;2,F:2,S", base: "a;2,F", info: "S", flags: []string{`\Seen`}},
		{name: "cut short", in: "a:2", base: "a:2"},
		{name: "nothing", in: "", base: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, info := Split(tc.in)
			if base != tc.base || info != tc.info {
				t.Errorf("Split(%q) = %q, %q; want %q, %q", tc.in, base, info, tc.base, tc.info)
			}
			if d := cmp.Diff(tc.flags, Flags(info)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLetters(t *testing.T) {
	for _, tc := range []struct {
		name  string
		flags []string
		want  string
	}{
		{name: "none"},
		{name: "sorted, each once", flags: []string{`\Seen`, `\Flagged`, `\Seen`}, want: "FS"},
		{name: "without case", flags: []string{`\SEEN`, `$forwarded`}, want: "PS"},
		{name: "without a letter", flags: []string{`$Junk`, `\Recent`, `重要`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Letters(tc.flags); got != tc.want {
				t.Errorf("Letters = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestApply(t *testing.T) {
	for _, tc := range []struct {
		name, info  string
		add, remove []string
		want        string
	}{
		{name: "add to nothing", add: []string{`\Seen`}, want: "S"},
		{name: "add and remove", info: "FS", add: []string{`\Answered`}, remove: []string{`\Seen`}, want: "FR"},
		{name: "keywords stay", info: "abS", remove: []string{`\Seen`}, want: "ab"},
		{name: "capital letters of others stay", info: "SX", add: []string{`\Draft`}, want: "DSX"},
		{name: "put in order", info: "bSa", add: []string{`\Draft`}, want: "DSab"},
		{name: "no change, no new order", info: "bSaS", add: []string{`\seen`}, remove: []string{`\Draft`}, want: "bSaS"},
		{name: "in both: added", info: "S", add: []string{`\Seen`}, remove: []string{`\Seen`}, want: "S"},
		{name: "fields after a comma stay", info: "F,xS", add: []string{`\Seen`}, remove: []string{`\Flagged`}, want: "S,xS"},
		{name: "other scripts stay whole", info: "é重F", add: []string{`\Seen`}, want: "FSé重"},
		{name: "flags without a letter do nothing", info: "F", add: []string{`$Junk`}, remove: []string{`\Recent`}, want: "F"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Apply(tc.info, tc.add, tc.remove); got != tc.want {
				t.Errorf("Apply(%q, %q, %q) = %q, want %q", tc.info, tc.add, tc.remove, got, tc.want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for _, tc := range []struct {
		name, base string
		want       int64
		ok         bool
	}{
		{name: "ours", base: "1.R1.fumibako,S=2,W=3", want: 2, ok: true},
		{name: "after another field", base: "1.x,W=3,S=20", want: 20, ok: true},
		{name: "largest", base: "1,S=9223372036854775807", want: 1<<63 - 1, ok: true},
		{name: "none", base: "1.x"},
		{name: "only wire", base: "1.x,W=3"},
		{name: "too large", base: "1,S=9223372036854775808"},
		{name: "negative", base: "1,S=-1"},
		{name: "with a sign", base: "1,S=+1"},
		{name: "empty", base: "1,S="},
		{name: "not a number", base: "1,S=1x"},
		{name: "before any comma", base: "S=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, ok := Size(tc.base)
			if ok != tc.ok || ok && n != tc.want {
				t.Errorf("Size(%q) = %d, %v; want %d, %v", tc.base, n, ok, tc.want, tc.ok)
			}
		})
	}
}

// flagSets draws flags that have letters, each at most once, in ASCII order of
// the letters.
func flagSets(t *rapid.T, label string) []string {
	var flags []string
	for _, l := range letters {
		if rapid.Bool().Draw(t, label+l.flag) {
			flags = append(flags, l.flag)
		}
	}
	return flags
}

func TestJoinSplitIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.StringMatching(`[!-~]{0,20}`).Draw(t, "base")
		sep := rapid.SampledFrom([]byte{':', ';'}).Draw(t, "sep")
		flags := flagSets(t, "")
		gotBase, info := Split(Join(base, sep, flags))
		if gotBase != base || !slices.Equal(Flags(info), flags) {
			t.Fatalf("Split(Join(%q, %q, %q)) = %q, %q", base, sep, flags, gotBase, info)
		}
	})
}

func TestApplyTouchesOnlyItsFlags(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		info := rapid.StringMatching(`[A-Za-z0-9é]{0,12}(,[A-Za-z]{0,4})?`).Draw(t, "info")
		add, remove := flagSets(t, "add"), flagSets(t, "remove")
		got := Apply(info, add, remove)
		want := Letters(append(slices.DeleteFunc(Flags(info), func(f string) bool { return slices.Contains(remove, f) }), add...))
		if Letters(Flags(got)) != want {
			t.Fatalf("flags of %q are %q, want %q", got, Letters(Flags(got)), want)
		}
		if foreignOf(got) != foreignOf(info) {
			t.Fatalf("Apply(%q) = %q changed what is not its own", info, got)
		}
		if again := Apply(got, add, remove); again != got {
			t.Fatalf("a second Apply made %q of %q", again, got)
		}
	})
}

// foreignOf gives what no flag accounts for, in a fixed order.
func foreignOf(info string) string {
	own, rest := split(info)
	r := []rune(strings.Map(func(r rune) rune {
		if strings.ContainsRune("DFPRST", r) {
			return -1
		}
		return r
	}, own))
	slices.Sort(r)
	return string(r) + rest
}

// TestForeignReader lets go-maildir read names made here.
func TestForeignReader(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Maildir")
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	base := Base(1780000000, "0123abcd", 3, 4)
	// The foreign reader takes ':' or, on Windows, ';' only.
	sep := byte(':')
	if os.PathSeparator == '\\' {
		sep = ';'
	}
	name := Join(base, sep, []string{`\Seen`, `\Draft`, `$Forwarded`})
	if err := os.WriteFile(filepath.Join(dir, "cur", name), []byte("a\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	msgs, err := foreign.Dir(dir).Messages()
	if err != nil {
		t.Fatal(err)
	}
	if len(msgs) != 1 || msgs[0].Key() != base {
		t.Fatalf("go-maildir found %d messages, want the one with key %q", len(msgs), base)
	}
	want := []foreign.Flag{foreign.FlagDraft, foreign.FlagPassed, foreign.FlagSeen}
	if d := cmp.Diff(want, msgs[0].Flags()); d != "" {
		t.Error(d)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("1.R1.fumibako,S=2,W=3:2,FS")
	f.Add("a!2,;2,:2,,S=")
	f.Fuzz(func(t *testing.T, name string) {
		base, info := Split(name)
		if len(base) < len(name) && base+name[len(base):len(base)+3]+info != name {
			t.Fatalf("Split(%q) = %q, %q lost something", name, base, info)
		}
		got := Apply(info, []string{`\Seen`}, []string{`\Seen`, `\Flagged`})
		flags := Flags(got)
		if !slices.Contains(flags, `\Seen`) || slices.Contains(flags, `\Flagged`) {
			t.Fatalf("Apply(%q) = %q", info, got)
		}
		Size(base)
	})
}
