package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The policy below says who may import whom. To change the house, change the
// table, and say why in the commit. The test reads the files itself, for every
// operating system and with every build tag: the go command would show it one
// system only, and hide changes behind the test cache.

const modulePath = "github.com/fumibako-mail/fumibako"

// Sets of our own packages. A name that ends in "/*" stands for every folder
// right below.
var (
	formats  = []string{"archive/maildir", "archive/mbox"}
	heart    = slices.Concat([]string{"archive", "dedupe"}, formats)
	network  = []string{"fetch", "fetch/session", "fetch/local", "upload"}
	surfaces = []string{"cmd/internal/*"}
	peers    = []string{"fetch/fetchtest"}
	anything = slices.Concat(heart, network, surfaces, peers)
)

// A room is a folder with code.
type room struct {
	dir   string   // "cmd/internal/*" stands for every folder right below; the first line that matches counts
	may   []string // packages of ours that its files may import
	tests []string // and that its test files may import besides, and besides itself
	noNet bool     // it imports nothing of the net family, in tests neither
}

// house lists every folder that holds code: rules 1 to 4.
var house = []room{
	{dir: "dedupe", noNet: true},
	{dir: "archive/maildir", noNet: true},
	{dir: "archive/mbox", noNet: true},
	{dir: "archive", may: slices.Concat([]string{"dedupe"}, formats), noNet: true},
	{dir: "fetch/session", tests: peers},
	{dir: "fetch", may: []string{"archive", "dedupe", "fetch/session"}, tests: peers},
	{dir: "fetch/local", may: slices.Concat([]string{"fetch"}, heart), tests: peers, noNet: true},
	{dir: "fetch/fetchtest", may: []string{"archive", "dedupe", "fetch", "fetch/session"}},
	{dir: "upload", may: []string{"archive", "dedupe", "fetch/session"}, tests: []string{"fetch", "fetch/fetchtest"}},
	{dir: "cmd/fumibako", may: []string{"cmd/internal/cli"}, tests: anything},
	{dir: "cmd/fumibako/integration", tests: anything},
	{dir: "cmd/internal/cli", may: anything},
	{dir: "cmd/internal/*", may: except(slices.Concat(heart, network, surfaces, peers), "cmd/internal/cli")},
}

// except marks one name of a set as left out.
func except(set []string, name string) []string { return append([]string{"!" + name}, set...) }

// An outsider is a package from outside, with all packages below it: rule 5.
// Of two that match, the longer path counts.
type outsider struct {
	path  string
	in    []string // folders, files, or patterns of files, whose code may name it
	tests []string // the same for test files, besides; "…" stands for everywhere
}

var outsiders = []outsider{
	{path: "github.com/knadh/go-pop3", in: []string{"fetch/session"}},
	// The words of IMAP: sets of UIDs, flags, response codes.
	{path: "github.com/emersion/go-imap/v2", in: []string{"fetch/session", "fetch/imap*.go", "fetch/fetchtest", "upload"},
		tests: []string{"fetch", "cmd/fumibako", "cmd/fumibako/integration"}},
	{path: "github.com/emersion/go-imap/v2/imapclient", in: []string{"fetch/session", "fetch/imap*.go", "upload"},
		tests: []string{"fetch", "fetch/fetchtest", "cmd/fumibako", "cmd/fumibako/integration"}},
	{path: "github.com/emersion/go-imap/v2/imapserver", in: []string{"fetch/fetchtest"}},
	// It returns messages with a damaged header line empty.
	{path: "github.com/emersion/go-imap/v2/imapserver/imapmemserver"},
	{path: "github.com/emersion/go-sasl", in: []string{"fetch/session", "fetch/fetchtest"}},
	// For showing and for making mail, never for storing it.
	{path: "github.com/emersion/go-message", in: []string{"cmd/internal/report", "cmd/internal/demo", "cmd/internal/viewer", "fetch/local"},
		tests: []string{"cmd/fumibako", "cmd/fumibako/integration"}},
	// Readers of others, to check what we write; both write without sync.
	{path: "github.com/emersion/go-maildir", tests: []string{"…"}},
	{path: "github.com/emersion/go-mbox", tests: []string{"…"}},

	{path: "go.etcd.io/bbolt", in: []string{"dedupe"}},
	{path: "github.com/gofrs/flock", in: []string{"archive/lock.go", "cmd/internal/secret"}},
	{path: "github.com/klauspost/compress", in: []string{"fetch/session", "fetch/fetchtest"}},
	{path: "github.com/pelletier/go-toml/v2", in: []string{"archive/marker.go", "cmd/internal/config", "cmd/internal/phrase"}},
	{path: "github.com/zalando/go-keyring", in: []string{"cmd/internal/secret"}, tests: []string{"cmd/fumibako"}},
	{path: "github.com/nicksnyder/go-i18n/v2", in: []string{"cmd/internal/phrase"}},
	{path: "github.com/spf13/cobra", in: []string{"cmd/internal/cli"}},
	{path: "github.com/spf13/pflag", in: []string{"cmd/internal/cli"}},
	{path: "github.com/inconshreveable/mousetrap", in: []string{"cmd/internal/cli/*_windows.go"}},
	{path: "github.com/schollz/progressbar/v3", in: []string{"cmd/internal/cli/bar.go"}},

	{path: "golang.org/x/sys", in: []string{"archive", "archive/mbox", "fetch/session/*_windows.go", "cmd/internal/*"}, tests: []string{"…"}},
	{path: "golang.org/x/term", in: []string{"cmd/internal/cli", "cmd/internal/secret"}},
	{path: "golang.org/x/text", in: []string{"archive/names.go", "cmd/internal/*"}, tests: []string{"archive"}},
	{path: "golang.org/x/sync", in: []string{"fetch", "fetch/session", "upload", "cmd/internal/cli"}},

	{path: "github.com/google/go-cmp", tests: []string{"…"}},
	{path: "pgregory.net/rapid", tests: []string{"…"}},
	{path: "github.com/rogpeppe/go-internal", tests: []string{"cmd/fumibako"}},

	// Of the standard library: bodies never pass through a reader of lines,
	// and without cgo the program is one file everywhere.
	{path: "net/textproto"},
	{path: "C"},
}

// codeFolders are the only ones in which code lives.
var codeFolders = []string{"cmd", "fetch", "dedupe", "archive", "upload"}

// complaint says what is wrong with file importing imported, or "".
func complaint(file, imported string) string {
	dir, isTest := path.Dir(file), strings.HasSuffix(file, "_test.go")
	i := slices.IndexFunc(house, func(r room) bool { return matchDir(r.dir, dir) })
	if i < 0 {
		return "stands in a folder that the house does not list"
	}
	r := house[i]
	if ours, ok := strings.CutPrefix(imported, modulePath+"/"); ok {
		may := allows(r.may, ours) || isTest && (ours == dir || allows(r.tests, ours))
		if !may {
			return "may not import " + ours
		}
		return ""
	}
	if r.noNet && (imported == "net" || strings.HasPrefix(imported, "net/") || imported == "crypto/tls") {
		return "may not import " + imported + ": this room knows no network"
	}
	o := longest(imported)
	if o == nil {
		if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
			return "imports " + imported + ", which the table does not list"
		}
		return ""
	}
	if !names(o.in, file) && !(isTest && names(o.tests, file)) {
		return "may not name " + imported
	}
	return ""
}

// allows reports whether a set has a package of ours in it.
func allows(set []string, ours string) bool {
	if slices.Contains(set, "!"+ours) {
		return false
	}
	return slices.ContainsFunc(set, func(s string) bool { return matchDir(s, ours) })
}

func matchDir(pattern, dir string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		return path.Dir(dir) == parent
	}
	return pattern == dir
}

// names reports whether a list of places has the file in it.
func names(places []string, file string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		if place == "…" || matchDir(place, path.Dir(file)) {
			return true
		}
		ok, err := path.Match(place, file)
		return ok && err == nil && strings.HasSuffix(place, ".go")
	})
}

// longest finds the outsider that speaks of a package.
func longest(imported string) *outsider {
	var found *outsider
	for i, o := range outsiders {
		if (imported == o.path || strings.HasPrefix(imported, o.path+"/")) && (found == nil || len(o.path) > len(found.path)) {
			found = &outsiders[i]
		}
	}
	return found
}

// moduleRoot finds the folder of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// goFiles lists the .go files of the module, relative to root, with slashes. It
// passes over what the go command passes over, and over modules of their own.
func goFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			// Another test may just have removed its scratch file.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if e.IsDir() {
			name := e.Name()
			_, noModule := os.Stat(filepath.Join(root, p, "go.mod"))
			if p != "." && (name[0] == '.' || name[0] == '_' || name == "testdata" || noModule == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(p, ".go") {
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImports(t *testing.T) {
	root := moduleRoot(t)
	files := goFiles(t, root)
	if len(files) < 20 {
		t.Fatalf("only %d files found below %s", len(files), root)
	}
	for _, file := range files {
		if top, _, _ := strings.Cut(file, "/"); !slices.Contains(codeFolders, top) {
			t.Errorf("%s: code lives in %s only", file, strings.Join(codeFolders, ", "))
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(file)), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if c := complaint(file, imported); c != "" {
				t.Errorf("%s %s", file, c)
			}
		}
	}
}

// TestImportPolicy holds the table against the rules it stands for: what they
// forbid, it must find.
func TestImportPolicy(t *testing.T) {
	const ours = modulePath + "/"
	for _, tc := range []struct {
		rule, file, imported string
		allowed              bool
	}{
		{rule: "1: dedupe imports nothing of ours", file: "dedupe/index.go", imported: ours + "archive"},
		{rule: "1: nor do the formats", file: "archive/mbox/scan.go", imported: ours + "dedupe"},
		{rule: "1: nor their tests", file: "archive/mbox/scan_test.go", imported: ours + "archive"},
		{rule: "1: nor session", file: "fetch/session/imap.go", imported: ours + "fetch"},
		{rule: "a test may import its own package", file: "dedupe/index_test.go", imported: ours + "dedupe", allowed: true},
		{rule: "code may not import its own package", file: "dedupe/index.go", imported: ours + "dedupe"},
		{rule: "2: archive imports its formats", file: "archive/store_mbox.go", imported: ours + "archive/mbox", allowed: true},
		{rule: "2: archive knows no fetch", file: "archive/add.go", imported: ours + "fetch"},
		{rule: "2: archive knows no net", file: "archive/add.go", imported: "net"},
		{rule: "2: not in tests either", file: "archive/add_test.go", imported: "net/http"},
		{rule: "3: fetch imports archive", file: "fetch/pull.go", imported: ours + "archive", allowed: true},
		{rule: "3: fetch knows no upload", file: "fetch/pull.go", imported: ours + "upload"},
		{rule: "3: upload knows no fetch", file: "upload/push.go", imported: ours + "fetch"},
		{rule: "3: fetch reaches formats through archive", file: "fetch/pull.go", imported: ours + "archive/mbox"},
		{rule: "peers are for tests", file: "fetch/pull.go", imported: ours + "fetch/fetchtest"},
		{rule: "peers are for tests", file: "fetch/pull_test.go", imported: ours + "fetch/fetchtest", allowed: true},
		{rule: "4: cmd/internal may import all", file: "cmd/internal/report/run.go", imported: ours + "fetch", allowed: true},
		{rule: "4: nothing imports cmd", file: "fetch/pull.go", imported: ours + "cmd/internal/config"},
		{rule: "4: not in tests either", file: "archive/add_test.go", imported: ours + "cmd/internal/phrase"},
		{rule: "cli stands above the others", file: "cmd/internal/report/run.go", imported: ours + "cmd/internal/cli"},
		{rule: "main is thin", file: "cmd/fumibako/main.go", imported: ours + "archive"},
		{rule: "main is thin", file: "cmd/fumibako/main.go", imported: ours + "cmd/internal/cli", allowed: true},
		{rule: "5: go-pop3", file: "fetch/pop3.go", imported: "github.com/knadh/go-pop3"},
		{rule: "5: go-message never stores", file: "archive/add.go", imported: "github.com/emersion/go-message/mail"},
		{rule: "5: client", file: "fetch/imap_list.go", imported: "github.com/emersion/go-imap/v2/imapclient", allowed: true},
		{rule: "5: client", file: "fetch/pull.go", imported: "github.com/emersion/go-imap/v2/imapclient"},
		{rule: "5: server", file: "cmd/internal/demo/server.go", imported: "github.com/emersion/go-imap/v2/imapserver"},
		{rule: "5: server of others", file: "fetch/fetchtest/imap.go", imported: "github.com/emersion/go-imap/v2/imapserver/imapmemserver"},
		{rule: "5: bbolt", file: "archive/add.go", imported: "go.etcd.io/bbolt"},
		{rule: "5: progressbar in one file", file: "cmd/internal/cli/bar.go", imported: "github.com/schollz/progressbar/v3", allowed: true},
		{rule: "5: progressbar in one file", file: "cmd/internal/cli/pull.go", imported: "github.com/schollz/progressbar/v3"},
		{rule: "5: cobra", file: "cmd/internal/report/run.go", imported: "github.com/spf13/cobra"},
		{rule: "5: readers of others in tests only", file: "archive/mbox/scan.go", imported: "github.com/emersion/go-mbox"},
		{rule: "5: readers of others in tests only", file: "archive/mbox/mbox_test.go", imported: "github.com/emersion/go-mbox", allowed: true},
		{rule: "what the table does not list", file: "fetch/pull.go", imported: "example.com/retry"},
		{rule: "a path that only begins alike", file: "dedupe/index.go", imported: "go.etcd.io/bbolt2"},
		{rule: "a folder the house does not list", file: "fetch/util/strings.go", imported: "fmt"},
		{rule: "standard library", file: "dedupe/index.go", imported: "crypto/sha256", allowed: true},
		{rule: "no reader of lines", file: "fetch/session/pop3.go", imported: "net/textproto"},
	} {
		t.Run(fmt.Sprintf("%s/%s", tc.rule, tc.file), func(t *testing.T) {
			c := complaint(tc.file, tc.imported)
			if (c == "") != tc.allowed {
				t.Errorf("%s importing %s: allowed = %v, want %v (%s)", tc.file, tc.imported, c == "", tc.allowed, c)
			}
		})
	}
}
