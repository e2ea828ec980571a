package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// canary is the password of these tests: no error may hold it.
const canary = "hunter2-KANARIE"

// TestMain lets the test binary play the password command.
func TestMain(m *testing.M) {
	switch os.Getenv("SECRET_TEST_COMMAND") {
	case "":
		os.Exit(m.Run())
	case "print":
		fmt.Print(os.Args[len(os.Args)-1])
	case "fail":
		fmt.Println(canary)
		fmt.Fprintln(os.Stderr, "cannot open the store")
		os.Exit(3)
	case "flood":
		for {
			if _, err := fmt.Print(strings.Repeat(canary, 1000)); err != nil {
				os.Exit(0)
			}
		}
	case "sleep":
		fmt.Println(canary)
		time.Sleep(time.Minute)
	case "stdin":
		octets, err := io.ReadAll(os.Stdin)
		fmt.Printf("read %d %v\n", len(octets), err)
	}
	os.Exit(0)
}

func base() Account {
	return Account{Name: "office", Protocol: "imap", Host: "IMAP.example.jp", User: "taro@example.jp"}
}

func command(t *testing.T, does string, arguments ...string) Account {
	t.Helper()
	t.Setenv("SECRET_TEST_COMMAND", does)
	a := base()
	a.Command = append([]string{os.Args[0]}, arguments...)
	return a
}

func demand(t *testing.T, got string, err error, code string, want map[string]any) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want code %s", err, code)
	}
	if e.Code != code || got != "" {
		t.Fatalf("got %q, %v, want code %s", got, err, code)
	}
	for k, v := range want {
		if e.Args[k] != v {
			t.Errorf("argument %s = %#v, want %#v", k, e.Args[k], v)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", err, e, e.Args); strings.Contains(s, "hunter2") {
		t.Errorf("the password is in %s", s)
	}
	if !slices.Contains(Codes, e.Code) {
		t.Errorf("%s is not in Codes", e.Code)
	}
	return e
}

func TestCommand(t *testing.T) {
	for _, tc := range []struct{ name, prints, want, code string }{
		{"one line", canary, canary, ""},
		{"line end", canary + "\n", canary, ""},
		{"CRLF", canary + "\r\n", canary, ""},
		{"only the first line", canary + "\nuser: taro\n", canary, ""},
		{"blanks belong to it", " a b \n", " a b ", ""},
		{"no shell", "$HOME `id` *\n", "$HOME `id` *", ""},
		{"not UTF-8", "\xff\n", "\xff", ""},
		{"nothing", "", "", CodeEmpty},
		{"empty line", "\n" + canary, "", CodeEmpty},
		{"lone CR", canary + "\rQUIT\n", "", CodeControl},
		{"long", strings.Repeat("x", maxOctets+1), "", CodeTooLong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := For(t.Context(), command(t, "print", tc.prints), nil)
			if tc.code != "" {
				demand(t, got, err, tc.code, map[string]any{"account": "office", "source": "password_command"})
			} else if err != nil || got != tc.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestCommandReadsNothingOfOurs(t *testing.T) {
	got, err := For(t.Context(), command(t, "stdin"), nil)
	if err != nil || got != "read 0 <nil>" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCommandFails(t *testing.T) {
	old := os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = w
	got, err := For(t.Context(), command(t, "fail"), func(context.Context, Account) (string, error) {
		t.Error("asked, although a command is configured")
		return canary, nil
	})
	os.Stderr = old
	w.Close()
	said, _ := io.ReadAll(r)
	demand(t, got, err, CodeCommandFailed, map[string]any{"command": os.Args[0], "status": 3})
	if !bytes.Contains(said, []byte("cannot open the store")) || bytes.Contains(said, []byte(canary)) {
		t.Errorf("standard error: %q", said)
	}

	got, err = For(t.Context(), command(t, "flood"), nil)
	demand(t, got, err, CodeTooLong, map[string]any{"limit": maxOctets})

	a := base()
	a.Command = []string{"no-such-program-anywhere", canary}
	got, err = For(t.Context(), a, nil)
	demand(t, got, err, CodeCommandNotFound, map[string]any{"command": "no-such-program-anywhere"})
	a.Command = []string{filepath.Join(t.TempDir(), "none"), canary}
	got, err = For(t.Context(), a, nil)
	demand(t, got, err, CodeCommandNotFound, nil)
}

func TestCommandIsKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	got, err := For(ctx, command(t, "sleep"), nil)
	e := demand(t, got, err, CodeCancelled, nil)
	if !errors.Is(e, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", e, time.Since(start))
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	got, err = For(ctx, command(t, "print", canary), nil)
	demand(t, got, err, CodeCancelled, map[string]any{"account": "office"})
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tc := range []struct {
		name, path, want, code string
		args                   map[string]any
		unix                   bool
	}{
		{name: "good", path: write("good", canary+"\r\nmore\n", 0o600), want: canary},
		{name: "read-only", path: write("ro", canary, 0o400), want: canary},
		{name: "byte order mark", path: write("bom", "\xef\xbb\xbf"+canary+"\n", 0o600), want: canary},
		{name: "missing", path: filepath.Join(dir, "none"), code: CodeFileMissing, args: map[string]any{"path": filepath.Join(dir, "none")}},
		{name: "folder", path: dir, code: CodeFileIrregular},
		{name: "below a file", path: filepath.Join(dir, "good", "x"), code: CodeFileUnreadable, unix: true},
		{name: "group", path: write("group", canary, 0o640), code: CodeFilePermissions, args: map[string]any{"mode": "0640"}, unix: true},
		{name: "all", path: write("all", canary, 0o604), code: CodeFilePermissions, args: map[string]any{"mode": "0604"}, unix: true},
		{name: "empty", path: write("empty", "", 0o600), code: CodeEmpty, args: map[string]any{"source": "password_file"}},
		{name: "NUL", path: write("nul", canary+"\x00", 0o600), code: CodeControl},
		{name: "long", path: write("long", strings.Repeat("x", maxOctets+1), 0o600), code: CodeTooLong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.unix && runtime.GOOS == "windows" {
				return
			}
			a := base()
			a.File = tc.path
			got, err := For(t.Context(), a, nil)
			if tc.code != "" {
				demand(t, got, err, tc.code, tc.args)
			} else if err != nil || got != tc.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestEnv(t *testing.T) {
	t.Setenv("OFFICE_PW", canary)
	t.Setenv("EMPTY_PW", "")
	t.Setenv("TWO_LINES", canary+"\nx")
	for _, tc := range []struct {
		env, want, code string
		args            map[string]any
	}{
		{"OFFICE_PW", canary, "", nil},
		{"EMPTY_PW", "", CodeEmpty, map[string]any{"source": "password_env"}},
		{"TWO_LINES", "", CodeControl, nil},
		{"NO_SUCH_PW", "", CodeEnvUnset, map[string]any{"variable": "NO_SUCH_PW"}},
		{"hunter2", "", CodeEnvUnset, map[string]any{"variable": ""}},
	} {
		a := base()
		a.Env = tc.env
		got, err := For(t.Context(), a, nil)
		if tc.code != "" {
			demand(t, got, err, tc.code, tc.args)
		} else if err != nil || got != tc.want {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestKeyring(t *testing.T) {
	keyring.MockInit()
	got, err := For(t.Context(), base(), nil)
	demand(t, got, err, CodeNone, map[string]any{"account": "office"})
	if err := Store(t.Context(), base(), canary); err != nil {
		t.Fatal(err)
	}
	if got, err := keyring.Get("fumibako", "imap://taro@example.jp@imap.example.jp"); err != nil || got != canary {
		t.Errorf("the keyring holds %q, %v", got, err)
	}
	renamed := base()
	renamed.Name = "other"
	if got, err = For(t.Context(), renamed, nil); err != nil || got != canary {
		t.Errorf("got %q, %v", got, err)
	}
	for range 2 {
		if err := Forget(t.Context(), base()); err != nil {
			t.Fatal(err)
		}
	}
	got, err = For(t.Context(), base(), nil)
	demand(t, got, err, CodeNone, nil)
	demand(t, "", Store(t.Context(), base(), ""), CodeEmpty, nil)
	demand(t, "", Store(t.Context(), base(), canary+"\n"), CodeControl, nil)
	if err := keyring.Set(service, base().ID(), ""); err != nil {
		t.Fatal(err)
	}
	got, err = For(t.Context(), base(), nil)
	demand(t, got, err, CodeEmpty, map[string]any{"source": "keyring"})

	keyring.MockInitWithError(keyring.ErrSetDataTooBig)
	demand(t, "", Store(t.Context(), base(), canary), CodeKeyringTooBig, nil)
	keyring.MockInitWithError(errors.New("no bus"))
	got, err = For(t.Context(), base(), nil)
	demand(t, got, err, CodeKeyringUnavailable, nil)
	demand(t, "", Forget(t.Context(), base()), CodeKeyringUnavailable, nil)
	keyring.MockInit()
}

func TestKeyringThatDoesNotAnswer(t *testing.T) {
	old := ringPatience
	ringPatience = 10 * time.Millisecond
	defer func() { ringPatience = old }()
	answer := make(chan struct{})
	defer close(answer)
	silent := func() (string, error) { <-answer; return canary, nil }
	if _, err := ring(t.Context(), true, silent); !errors.Is(err, errRingSilent) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := ring(ctx, false, silent); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestPrompt(t *testing.T) {
	keyring.MockInit()
	for _, tc := range []struct {
		name   string
		answer string
		err    error
		code   string
	}{
		{"answered", canary, nil, ""},
		{"empty", "", nil, CodeEmpty},
		{"no terminal", "", &Error{Code: CodeNotATerminal, Args: safe.Args("account", "")}, CodeNotATerminal},
		{"bare error", "", &Error{Code: CodePrompt}, CodePrompt},
		{"fails", "", io.ErrUnexpectedEOF, CodePrompt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := For(t.Context(), base(), func(_ context.Context, a Account) (string, error) {
				if a.Name != "office" {
					t.Errorf("asked for %q", a.Name)
				}
				return tc.answer, tc.err
			})
			if tc.code != "" {
				demand(t, got, err, tc.code, map[string]any{"account": "office"})
			} else if err != nil || got != tc.answer {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err := For(ctx, base(), func(context.Context, Account) (string, error) {
		cancel()
		return "", ctx.Err()
	})
	demand(t, got, err, CodeCancelled, map[string]any{"account": "office"})
	// A keyring that does not work is no reason not to ask.
	keyring.MockInitWithError(errors.New("no bus"))
	defer keyring.MockInit()
	if got, err := For(t.Context(), base(), func(context.Context, Account) (string, error) { return canary, nil }); err != nil || got != canary {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTerminalNeedsATerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	got, err := Terminal(t.Context(), r, io.Discard, "?")
	demand(t, got, err, CodeNotATerminal, nil)
	got, err = Terminal(t.Context(), nil, io.Discard, "?")
	demand(t, got, err, CodeNotATerminal, nil)
}

func TestRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "fumibako")
	r, err := OpenRefusals(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, other := base().ID(), "pop3://t@h"
	if _, _, ok := r.Refused(id, canary); ok {
		t.Error("refused before any refusal")
	}
	now := time.Date(2026, 3, 1, 9, 0, 0, 5, time.FixedZone("JST", 9*3600))
	if err := r.Remember(id, canary, "-ERR "+canary+" is wrong\x1b[2J", now); err != nil {
		t.Fatal(err)
	}
	if err := r.Remember(other, canary, "NO", now); err != nil {
		t.Fatal(err)
	}
	again, err := OpenRefusals(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Refusals{r, again} {
		when, words, ok := r.Refused(id, canary)
		if !ok || !when.Equal(now.Truncate(time.Second)) || words != "-ERR … is wrong\uFFFD[2J" {
			t.Errorf("%v %q %v", when, words, ok)
		}
		if _, _, ok := r.Refused(id, canary+"x"); ok {
			t.Error("a changed secret counts as refused")
		}
	}
	octets, err := os.ReadFile(filepath.Join(dir, refusalsName))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(octets, []byte("hunter")) {
		t.Errorf("the password is in %s", octets)
	}
	f, err := r.read()
	if err != nil || bytes.Equal(f.Refused[id].Digest, f.Refused[other].Digest) {
		t.Error("two accounts with one password are seen to have it", err)
	}
	if err := again.Clear(id); err != nil {
		t.Fatal(err)
	}
	if err := again.Clear("nobody"); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := r.Refused(id, canary); ok {
		t.Error("still refused after Clear")
	}
	if _, _, ok := r.Refused(other, canary); !ok {
		t.Error("Clear took more than its own")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil || len(names) > 0 {
		t.Error(names, err)
	}
}

func TestRefusalsFileIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		return
	}
	dir := t.TempDir()
	r, err := OpenRefusals(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remember("id", canary, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	mode := func() os.FileMode {
		st, err := os.Stat(r.path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode().Perm()
	}
	if m := mode(); m != 0o600 {
		t.Errorf("mode %o", m)
	}
	if err := os.Chmod(r.path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRefusals(dir); err != nil || mode() != 0o600 {
		t.Errorf("mode %o, %v", mode(), err)
	}
}

func TestRefusalsDamaged(t *testing.T) {
	for _, text := range []string{"", "{", "null", "[]", "\x00\x00\x00", `{"version":1}`, `{"version":1,"key":"AAAA","refused":null}`,
		`{"version":2,"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, strings.Repeat(" ", refusalsLimit+1)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, refusalsName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenRefusals(dir)
		if err != nil {
			t.Fatalf("%.20q: %v", text, err)
		}
		if _, _, ok := r.Refused("id", canary); ok {
			t.Errorf("%.20q: refused", text)
		}
		if err := r.Remember("id", canary, "no", time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, words, ok := r.Refused("id", canary); !ok || words != "no" {
			t.Errorf("%.20q: not remembered", text)
		}
	}
}

func TestRefusalsUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenRefusals(file)
	demand(t, "", err, CodeRefusals, map[string]any{"path": filepath.Join(file, refusalsName)})
}

// Two programs that remember at the same time lose nothing of each other.
func TestRefusalsConcurrently(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for p := range 4 {
		r, err := OpenRefusals(dir)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			wg.Go(func() {
				id := fmt.Sprintf("imap://%d-%d@h", p, n)
				if err := r.Remember(id, canary, "no", time.Now()); err != nil {
					t.Error(err)
				}
				if _, _, ok := r.Refused(id, canary); !ok {
					t.Errorf("%s is lost", id)
				}
			})
		}
	}
	wg.Wait()
	r, err := OpenRefusals(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := r.read(); err != nil || len(f.Refused) != 16 {
		t.Errorf("%d of 16, %v", len(f.Refused), err)
	}
}
