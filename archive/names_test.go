package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func TestEscapeComponent(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{name: "plain", in: "INBOX", want: "INBOX"},
		{name: "Japanese", in: "送信済み", want: "送信済み"},
		{name: "voiced kana", in: "ガーデン", want: "ガーデン"},
		{name: "emoji", in: "❤️ 仕事 👨‍👩‍👧", want: "❤️ 仕事 👨‍👩‍👧"},
		{name: "blank inside", in: "Sent Items", want: "Sent Items"},
		{name: "brackets", in: "[Gmail]", want: "[Gmail]"},
		{name: "percent", in: "100%", want: "100%25"},
		{name: "an escape", in: "%2F", want: "%252F"},
		{name: "forbidden", in: `<>:"/\|?*`, want: "%3C%3E%3A%22%2F%5C%7C%3F%2A"},
		{name: "controls", in: "a\x00\x1f\x7f\n", want: "a%00%1F%7F%0A"},
		{name: "C1 control", in: "a\u0085b", want: "a%C2%85b"},
		{name: "turned text", in: "a\u202egpj", want: "a%E2%80%AEgpj"},
		{name: "private use", in: "\uf022", want: "%EF%80%A2"},
		{name: "noncharacter", in: "\U0001ffff", want: "%F0%9F%BF%BF"},
		{name: "not UTF-8", in: "a\xffb\xe3\x81", want: "a%FFb%E3%81"},
		{name: "replacement character", in: "a\ufffd", want: "a\ufffd"},
		{name: "empty", in: "", want: "%empty"},
		{name: "what empty gives", in: "%empty", want: "%25empty"},
		{name: "here", in: ".", want: "%2E"},
		{name: "above", in: "..", want: "%2E%2E"},
		{name: "many dots", in: "....", want: "%2E..%2E"},
		{name: "hidden", in: ".git", want: "%2Egit"},
		{name: "our own folder", in: ".Fumibako", want: "%2EFumibako"},
		{name: "blanks at the ends", in: " a ", want: "%20a%20"},
		{name: "ideographic space at the ends", in: "　a　", want: "%E3%80%80a%E3%80%80"},
		{name: "dot at the end", in: "a.", want: "a%2E"},
		{name: "one blank", in: " ", want: "%20"},
		{name: "cur", in: "Cur", want: "%43ur"},
		{name: "new", in: "new", want: "%6Eew"},
		{name: "tmp", in: "TMP", want: "%54MP"},
		{name: "news", in: "news", want: "news"},
		{name: "device", in: "con", want: "%63on"},
		{name: "device with extension", in: "NUL.txt", want: "%4EUL.txt"},
		{name: "device, blank, extension", in: "Aux  .a.b", want: "%41ux  .a.b"},
		{name: "console", in: "CONOUT$", want: "%43ONOUT$"},
		{name: "port", in: "com0", want: "%63om0"},
		{name: "superscript port", in: "LPT³.x", want: "%4CPT³.x"},
		{name: "no port", in: "COM10", want: "COM10"},
		{name: "no device", in: "console", want: "console"},
		{name: "mbox", in: "old.MBOX", want: "old%2EMBOX"},
		{name: "only mbox", in: ".mbox", want: "%2Embox"},
		{name: "lock", in: "a.mbox.lock", want: "a.mbox%2Elock"},
		{name: "short name of another", in: "LONGNA~1.TXT", want: "LONGNA%7E1.TXT"},
		{name: "tilde", in: "~taro", want: "~taro"},
		{name: "NFD", in: "か\u3099き", want: "%E3%81%8B%E3%82%99き"},
		{name: "NFD of a Latin letter", in: "Cafe\u0301", want: "Cafe%CC%81"},
		{name: "NFC of it", in: "Café", want: "Café"},
		{name: "accent on an escape", in: "a:\u0301b", want: "a%3A%CC%81b"},
		{name: "accent first", in: "\u0301b", want: "\u0301b"},
		{name: "singleton", in: "\u212bngstrom", want: "%E2%84%ABngstrom"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := escapeComponent(tc.in)
			if got != tc.want {
				t.Errorf("escapeComponent(%q) = %q, want %q", tc.in, got, tc.want)
			}
			checkComponent(t, tc.in, got)
		})
	}
}

func TestLongComponent(t *testing.T) {
	for _, tc := range []struct{ name, in, prefix string }{
		{name: "Latin", in: strings.Repeat("a", 121), prefix: strings.Repeat("a", 102)},
		{name: "kana", in: strings.Repeat("あ", 41), prefix: strings.Repeat("あ", 34)},
		{name: "cut at a character", in: "ab" + strings.Repeat("あ", 41), prefix: "ab" + strings.Repeat("あ", 33)},
		{name: "cut at an escape", in: "a" + strings.Repeat("?", 41), prefix: "a" + strings.Repeat("%3F", 33)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := escapeComponent(tc.in)
			want := fmt.Sprintf("%s%%-%x", tc.prefix, sha256.Sum256([]byte(tc.in)))[:len(tc.prefix)+18]
			if got != want {
				t.Errorf("escapeComponent = %q, want %q", got, want)
			}
			checkComponent(t, tc.in, got)
		})
	}
	for _, whole := range []string{strings.Repeat("a", 120), strings.Repeat("あ", 40)} {
		if got := escapeComponent(whole); got != whole {
			t.Errorf("escapeComponent(%q) = %q", whole, got)
		}
	}
}

var (
	// windowsDevice is written down a second time, as Microsoft's page has it.
	windowsDevice = regexp.MustCompile(`(?i)^(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³]) *(\.|$)`)
	escapeForm    = regexp.MustCompile(`^([^%]|%[0-9A-F]{2})*(%-[0-9a-f]{16})?$`)
)

// checkComponent holds a name against all that is promised of it.
func checkComponent(t interface {
	Helper()
	Errorf(string, ...any)
}, in, got string) {
	t.Helper()
	bad := func(why string) { t.Helper(); t.Errorf("escapeComponent(%q) = %q: %s", in, got, why) }
	if got == "" || len(got) > maxComponent {
		bad(fmt.Sprintf("%d octets", len(got)))
	}
	if !utf8.ValidString(got) || !norm.NFC.IsNormalString(got) {
		bad("not UTF-8 in NFC")
	}
	if strings.ContainsAny(got, "<>:\"/\\|?*\x7f") || strings.ContainsFunc(got, unicode.IsControl) {
		bad("forbidden character")
	}
	if strings.TrimSpace(got) != got || got[0] == '.' || strings.HasSuffix(got, ".") {
		bad("dot or blank at an end")
	}
	lower := strings.ToLower(got)
	if windowsDevice.MatchString(got) || lower == "cur" || lower == "new" || lower == "tmp" ||
		strings.HasSuffix(lower, ".mbox") || strings.HasSuffix(lower, ".lock") {
		bad("reserved name")
	}
	if !filepath.IsLocal(got) {
		bad("not local")
	}
	if got != emptyComponent && !escapeForm.MatchString(got) {
		bad("stray percent sign")
	}
	if !strings.Contains(got, cutMark) && unescapeComponent(got) != in {
		bad(fmt.Sprintf("unescapes to %q", unescapeComponent(got)))
	}
}

// components draws names that come near to what is escaped.
func components() *rapid.Generator[string] {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"%", "%2", "2E", ".", "..", " ", "/", "\\", ":", "CON", "con", "COM", "¹", "1", "~1", "cur", "NEW", ".mbox", ".LOCK",
			"\u0301", "\u3099", "か", "が", "e", "é", "\u1100", "\u1161", "\u11a8", "각", "\xff", "\xe3\x81", "\x00", "\u200d", "\ufe0f", "\u034f", "%-", "%~2", "empty", "　", "ß", "ẞ", "\u0130", "\u0131"}),
		rapid.StringN(0, 5, -1),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 4), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.IntRange(0, 60), func(n int) string { return strings.Repeat("\u0301", n) }),
	)
	return rapid.Map(rapid.SliceOfN(piece, 0, 12), func(p []string) string { return strings.Join(p, "") })
}

func TestEscapeComponentProperties(t *testing.T) {
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		in := components().Draw(t, "component")
		got := escapeComponent(in)
		checkComponent(t, in, got)
		if other, ok := seen[got]; ok && other != in {
			t.Fatalf("%q and %q both give %q", in, other, got)
		}
		seen[got] = in
	})
}

func FuzzEscapeComponent(f *testing.F) {
	f.Add("送信済み", "か\u3099")
	f.Add("CON .x", "%empty")
	f.Add(strings.Repeat("あ", 50), "..")
	f.Fuzz(func(t *testing.T, a, b string) {
		ea, eb := escapeComponent(a), escapeComponent(b)
		checkComponent(t, a, ea)
		checkComponent(t, b, eb)
		if a != b && ea == eb {
			t.Fatalf("%q and %q both give %q", a, b, ea)
		}
	})
}

func TestUnescapeComponentKeepsMarks(t *testing.T) {
	for in, want := range map[string]string{
		"a%3Ab%-0123456789abcdef": "a:b%-0123456789abcdef",
		"a%~2":                    "a%~2",
		"a%":                      "a%",
		"a%4":                     "a%4",
		"%25empty":                "%empty",
	} {
		if got := unescapeComponent(in); got != want {
			t.Errorf("unescapeComponent(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMailboxPath(t *testing.T) {
	for _, tc := range []struct {
		name, account, mailbox, delimiter string
		mbox                              bool
		want                              string
	}{
		{name: "top", account: "office", mailbox: "INBOX", delimiter: "/", want: "office/INBOX"},
		{name: "top, mbox", account: "office", mailbox: "INBOX", delimiter: "/", mbox: true, want: "office/INBOX.mbox"},
		{name: "nested", account: "office", mailbox: "仕事.2026.見積", delimiter: ".", want: "office/仕事/2026/見積"},
		{name: "nested, mbox", account: "office", mailbox: "a/b", delimiter: "/", mbox: true, want: "office/a/b.mbox"},
		{name: "other delimiter inside", account: "o", mailbox: "a/b.c", delimiter: ".", want: "o/a%2Fb/c"},
		{name: "no delimiter", account: "o", mailbox: "a/b.c", want: "o/a%2Fb.c"},
		{name: "backslash", account: "o", mailbox: `a\b`, delimiter: `\`, want: "o/a/b"},
		{name: "empty components", account: "o", mailbox: "/a//b/", delimiter: "/", want: "o/%empty/a/%empty/b/%empty"},
		{name: "no name", account: "o", delimiter: "/", mbox: true, want: "o/%empty.mbox"},
		{name: "climbing", account: "..", mailbox: "../../etc", delimiter: "/", want: "%2E%2E/%2E%2E/%2E%2E/etc"},
		{name: "named like a file of ours", account: "readme.TXT", mailbox: "a", want: "readme%2ETXT/a"},
		{name: "named like the other", account: "はじめにお読みください.txt", mailbox: "a", want: "はじめにお読みください%2Etxt/a"},
		{name: "mbox below mbox", account: "o", mailbox: "a.mbox/b", delimiter: "/", mbox: true, want: "o/a%2Embox/b.mbox"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := mailboxPath(tc.account, tc.mailbox, tc.delimiter, tc.mbox); got != tc.want {
				t.Errorf("mailboxPath = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDeepMailboxPath(t *testing.T) {
	seen := map[string]bool{}
	for depth := range 2000 {
		name := strings.Repeat("深い/", depth) + "x"
		got := mailboxPath("office", name, "/", true)
		if len(got) > maxMailboxPath || seen[got] || !filepath.IsLocal(got) {
			t.Fatalf("depth %d: %d octets, %q", depth, len(got), got)
		}
		seen[got] = true
	}
	if got, want := mailboxPath("o", "a/b/c/d/e/f", "/", false), "o/a/b/c/d/e/f"; got != want {
		t.Errorf("a hierarchy of six levels became %q", got)
	}
}

func TestMailboxPathIsInjective(t *testing.T) {
	seen := map[string][2]string{}
	rapid.Check(t, func(t *rapid.T) {
		account := rapid.SampledFrom([]string{"a", "README.txt", "readme%2Etxt", "a/b"}).Draw(t, "account")
		name := strings.Join(rapid.SliceOfN(components(), 0, 20).Draw(t, "components"), "/")
		for _, mbox := range []bool{false, true} {
			p := mailboxPath(account, name, "/", mbox)
			if len(p) > maxMailboxPath || !filepath.IsLocal(p) {
				t.Fatalf("%d octets: %q", len(p), p)
			}
			key := fmt.Sprint(mbox, p)
			if other, ok := seen[key]; ok && other != [2]string{account, name} {
				t.Fatalf("%q and %q both give %q", [2]string{account, name}, other, p)
			}
			seen[key] = [2]string{account, name}
		}
	})
}

func TestFoldPath(t *testing.T) {
	for _, tc := range []struct {
		name, a, b string
		twins      bool
	}{
		{name: "case", a: "o/Foo", b: "O/fOO", twins: true},
		{name: "composition", a: "o/が", b: "o/か\u3099", twins: true},
		{name: "sharp s", a: "Straße", b: "STRASSE", twins: true},
		{name: "dotted I", a: "\u0130\u0323", b: "i\u0323", twins: true},
		{name: "dotless i", a: "\u0131", b: "I", twins: true},
		{name: "final sigma", a: "ΟΔΟΣ", b: "οδος", twins: true},
		{name: "variation selector", a: "❤️", b: "❤", twins: true},
		{name: "joiner", a: "a\u200db", b: "ab", twins: true},
		{name: "full width is another", a: "Ａ", b: "A"},
		{name: "kana are others", a: "ア", b: "あ"},
		{name: "voiced is another", a: "か", b: "が"},
		{name: "other path", a: "a/b", b: "ab"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := foldPath(tc.a) == foldPath(tc.b); got != tc.twins {
				t.Errorf("%q and %q: twins = %v (%q, %q)", tc.a, tc.b, got, foldPath(tc.a), foldPath(tc.b))
			}
		})
	}
}

func TestFoldPathFindsEveryTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.OneOf(rapid.String(), rapid.Map(components(), escapeComponent)).Draw(t, "path")
		key := foldPath(p)
		for _, twin := range []string{norm.NFC.String(p), norm.NFD.String(p), strings.ToLower(p), strings.ToUpper(p), strings.ToTitle(p)} {
			if foldPath(twin) != key {
				t.Fatalf("%q and %q: %q, %q", p, twin, key, foldPath(twin))
			}
		}
	})
}

func TestTwinPath(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		n          int
		want       string
	}{
		{name: "Maildir", path: "o/foo", n: 2, want: "o/foo%~2"},
		{name: "mbox", path: "o/foo.mbox", n: 12, want: "o/foo%~12.mbox"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := twinPath(tc.path, tc.n)
			if got != tc.want {
				t.Errorf("twinPath = %q, want %q", got, tc.want)
			}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		in := components().Draw(t, "component")
		if strings.Contains(escapeComponent(in), twinMark) {
			t.Fatalf("%q gives %q, which looks like a twin", in, escapeComponent(in))
		}
	})
}

// hostileNames are what a hostile or careless server could call a mailbox.
func hostileNames() []string {
	names := []string{
		"", "/", "//", ".", "..", "../..", "../../../../etc/passwd", "/etc/passwd", "/../x", "a/../../x", "a/./b", "~", "~root", "C:", `C:\x`, "C:/x",
		`\\host\share\x`, `\\?\C:\x`, `..\..\x`, `a\..\..\x`, "a\x00b", "\x00", "a\nb", "a\r\nb", "%2e%2e/x", "%2e%2e%2fx", "%00", "%", "%%", "%~2", "%empty",
		"..%00/", ".fumibako", ".FUMIBAKO/journal", ".fumibako/lock", "README.txt", "-rf", "--", "*", "?", "a:b", "a:b:$DATA", "file::$INDEX_ALLOCATION", "$MFT",
		"\xff\xfe", "\xc0\xae\xc0\xae/x", "\xed\xa0\x80", "\u202e/x", "．．/x", "\u2024\u2024/x", "a\u2215b", "a\u2044b", "Foo", "foo", "FOO", "が", "か\u3099",
		"CON", "con.txt", "NUL ", "AUX.", "COM¹", "LPT9.mbox", "CONIN$", "cur", "CUR/new/tmp", "a/cur", "a/new/x", "x.mbox", "x.mbox/y", "x.mbox.lock", "x",
		"x/y", strings.Repeat("a", 300), strings.Repeat("a", 5000), strings.Repeat("あ", 300), strings.Repeat("a/", 300), strings.Repeat("../", 300) + "x",
		strings.Repeat("\u0301", 100), strings.Repeat("%", 200), strings.Repeat(".", 300), strings.Repeat(" ", 300),
	}
	for c := range 128 {
		names = append(names, "c"+string(rune(c))+"d", string(rune(c)))
	}
	return names
}

// TestHostileNames makes each of them on the disk, under both formats: each
// gets a place of its own, below the root and nowhere else.
func TestHostileNames(t *testing.T) {
	names := hostileNames()
	if len(names) < 300 {
		t.Fatalf("%d names", len(names))
	}
	for _, mbox := range []bool{false, true} {
		t.Run(fmt.Sprint("mbox ", mbox), func(t *testing.T) {
			outside := t.TempDir()
			dir := filepath.Join(outside, "archive")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			folded := map[string]bool{}
			made := map[string]string{} // path: its one octet string
			distinct := map[string]bool{}
			for _, name := range names {
				if distinct[name] {
					continue
				}
				distinct[name] = true
				p := mailboxPath("office", name, "/", mbox)
				for n, q := 2, p; folded[foldPath(p)]; n++ {
					p = twinPath(q, n)
				}
				folded[foldPath(p)] = true
				if _, dup := made[p]; dup {
					t.Fatalf("%q: %q is taken", name, p)
				}
				made[p] = name
				file, parent := p, filepath.Dir(p)
				if !mbox {
					file, parent = p+"/cur/1", p+"/cur"
				}
				if err := root.MkdirAll(parent, 0o700); err != nil {
					t.Fatalf("%q: %v", name, err)
				}
				if err := root.WriteFile(file, []byte(name), 0o600); err != nil {
					t.Fatalf("%q: %v", name, err)
				}
			}
			for p, name := range made {
				file := p
				if !mbox {
					file += "/cur/1"
				}
				got, err := root.ReadFile(file)
				if err != nil || string(got) != name {
					t.Errorf("%q was overwritten by %q (%v)", name, got, err)
				}
			}
			checkOutside(t, outside, root)
		})
	}
}

// checkOutside demands that nothing but the archive stands in its parent, and
// nothing but the account in the archive.
func checkOutside(t *testing.T, parent string, root *os.Root) {
	t.Helper()
	for _, tc := range []struct {
		fsys fs.FS
		want []string
	}{
		{fsys: os.DirFS(parent), want: []string{"archive"}},
		{fsys: root.FS(), want: []string{"office"}},
	} {
		entries, err := fs.ReadDir(tc.fsys, ".")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Error(d)
		}
	}
	if _, err := os.Lstat(filepath.Join(parent, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file outside: %v", err)
	}
}
