//go:build integration

package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// hostile are mailbox names that a file system, Windows, a terminal or a parser
// stumbles over. None begins with "~": Dovecot 2.3 hides such a mailbox, 2.4
// panics when it lists it.
var hostile = []string{
	"INBOX", "CON", "a:b", "nul.txt", "R&D", "trailing dot.", "trailing blank ", " leading blank", "Foo", "foo", "FOO",
	"cafe\u0301", "caf\u00e9", "100%", "%00", "a*b?c", `a"b`, `back\slash`, "<script>", "pipe|", ".hidden", "..dots",
	"x.mbox", "x.mbox/below", "x.lock", "LPT1", "COM\u00b9", "AUX/PRN", "bell\a", "esc\x1b[31m", "new line\nhere",
	"right\u202eleft", "受信/トレイ", "\U0001f4e7", "deep/a/b/c/d/e/f/g", ".fumibako", "lab", "index", "Journal",
	strings.Repeat("n", 200), strings.Repeat("n", 199) + "m", strings.Repeat("長", 60),
}

// TestHostileNames pulls every hostile name the server lets exist, with all
// messages, and demands that nothing is written outside the archive.
func TestHostileNames(t *testing.T) {
	d := startDovecot(t, dovecotOptions{layoutFS: true})
	each := 3
	fill(t, d.maildir("taro"), mailOptions{n: each * len(hostile), seed: 40, mailboxes: hostile, layoutFS: true})
	want := readServer(t, d, "imap", "taro")
	var absent []string
	for _, name := range hostile {
		if _, found := want[name]; !found {
			absent = append(absent, name)
		}
	}
	t.Logf("%d of %d names exist on the server; not %q", len(hostile)-len(absent), len(hostile), absent)
	if len(absent) > len(hostile)/4 {
		t.Fatalf("the server serves only %q", slices.Sorted(maps.Keys(want)))
	}
	n, _ := total(want)
	for _, format := range []string{"maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			c := newClient(t, format, account{port: d.imap})
			before := entriesOf(t, c.dir)
			r := c.pull(n)
			// The report may make a name safe to show, but it leaves none out.
			named := map[string]bool{}
			for _, m := range r.Accounts[0].Mailboxes {
				named[m.Name] = true
			}
			if len(named) != len(want) {
				t.Errorf("the report names %d mailboxes, the server has %d: %q", len(named), len(want), slices.Sorted(maps.Keys(named)))
			}
			for name := range want {
				if !named[name] && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("the report does not name mailbox %q", name)
				}
			}
			demandMailboxes(t, c, want)
			for _, name := range entriesOf(t, c.dir) {
				if !slices.Contains(before, name) && !slices.Contains([]string{"archive", "state", "config", ".cache"}, name) {
					t.Errorf("written outside the archive: %s", name)
				}
			}
			if got := entriesOf(t, c.archive); !slices.Contains(got, "lab") {
				t.Errorf("the archive's root has %q", got)
			}
			demandPortableNames(t, c)
			c.nothingNew(n)
			c.run(0, "verify", "--json")
		})
	}
}

// demandMailboxes demands that for each mailbox of the server the archive has
// one with exactly its messages, whatever the mailbox is called on disk.
func demandMailboxes(t *testing.T, c *client, want map[string][]served) {
	t.Helper()
	held := readArchive(t, c)
	for name, messages := range want {
		if len(messages) == 0 {
			continue
		}
		found := 0
		for _, on := range held {
			if sameMessages(messages, on) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("mailbox %q is %d times in the archive", name, found)
		}
	}
	mailboxes := 0
	for _, on := range held {
		if len(on) > 0 {
			mailboxes++
		}
	}
	if mailboxes != len(want) {
		t.Errorf("the archive has %d mailboxes with mail, the server %d", mailboxes, len(want))
	}
}

// sameMessages reports whether a mailbox holds exactly what the server serves
// of one.
func sameMessages(want []served, held []stored) bool {
	missing := map[digest]bool{}
	for _, s := range want {
		missing[s.raw] = true
	}
	for _, s := range held {
		switch {
		case missing[s.raw]:
			delete(missing, s.raw)
		case missing[s.short]:
			delete(missing, s.short)
		default:
			return false
		}
	}
	return len(missing) == 0
}

func entriesOf(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// demandPortableNames demands that every folder of a mailbox could be copied to
// Windows and macOS: no forbidden character, no reserved name, no twins.
func demandPortableNames(t *testing.T, c *client) {
	t.Helper()
	root := filepath.Join(c.archive, c.account)
	folded := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		parent := filepath.Base(filepath.Dir(path))
		if !e.IsDir() && (parent == "cur" || parent == "new") {
			return nil
		}
		if strings.ContainsAny(name, "<>:\"/\\|?*") || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }) ||
			strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || len(name) > 140 {
			t.Errorf("no portable name: %q", path)
		}
		base, _, _ := strings.Cut(strings.ToUpper(name), ".")
		if slices.Contains([]string{"CON", "PRN", "AUX", "NUL", "LPT1", "COM1"}, base) {
			t.Errorf("a name reserved by Windows: %q", path)
		}
		key := strings.ToLower(path)
		if twin, found := folded[key]; found {
			t.Errorf("%q and %q are one name on Windows", path, twin)
		}
		folded[key] = path
		return nil
	}))
}

// TestManyMailboxes pulls two hundred small mailboxes.
func TestManyMailboxes(t *testing.T) {
	const mailboxes, n = 200, 600
	var names []string
	for i := range mailboxes {
		names = append(names, fmt.Sprintf("Kunden/%02d/Projekt %d", i%20, i))
	}
	d := startDovecot(t, dovecotOptions{})
	makeMaildir(t, d.maildir("taro"))
	fill(t, d.maildir("taro"), mailOptions{n: n, seed: 41, median: 800, mailboxes: names})
	want := readServer(t, d, "imap", "taro")
	for _, format := range []string{"maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			p := startProxy(t, d.address("imap"))
			c := newClient(t, format, account{port: p.port})
			c.pull(n)
			demandExact(t, c, want)
			demandNoopRun(t, c, p, n)
		})
	}
}
