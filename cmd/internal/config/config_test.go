package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const fine = `version = 1
[archive]
path = "mail"
format = "mbox"
[defaults]
password_command = ["pass", "show", "mail/{user}", "{name}", "{other}"]
exclude = ['\Junk']
[limits]
accounts = 3
per_host = 1
[[account]]
name = "office"
protocol = "imap"
host = "IMAP.example.jp"
user = "taro@example.jp"
[[account]]
name = "old"
protocol = "pop3"
host = "pop.example.jp"
security = "starttls"
user = "taro"
password_file = "secrets/{user}"
exclude = []
master = "office"
[[account]]
name = "lan"
protocol = "imap"
host = "192.168.0.5"
port = 1143
security = "cleartext"
cleartext_reason = "in our own cellar"
user = "t"
password_env = "LAN_PW"
master = false
pull = false
[master]
account = "gmail"
[[account]]
name = "gmail"
protocol = "imap"
host = "imap.gmail.com"
user = "taro@gmail.com"
`

func TestParseFillsInEverything(t *testing.T) {
	dir := t.TempDir()
	c, err := Parse(filepath.Join(dir, "config.toml"), []byte("\xef\xbb\xbf"+fine))
	if err != nil {
		t.Fatal(err)
	}
	command := func(user, name string) []string { return []string{"pass", "show", "mail/" + user, name, "{other}"} }
	want := &Config{
		File: filepath.Join(dir, "config.toml"), Version: 1,
		Archive: Archive{Path: filepath.Join(dir, "mail"), Format: "mbox"},
		Limits:  Limits{Accounts: 3, PerHost: 1},
		Master:  "gmail",
		Accounts: []Account{
			{Name: "office", Protocol: "imap", Host: "imap.example.jp", Port: 993, Security: "tls", User: "taro@example.jp",
				PasswordCommand: command("taro@example.jp", "office"), Exclude: []string{`\Junk`}, Master: "gmail", Pull: true, Line: 11},
			{Name: "old", Protocol: "pop3", Host: "pop.example.jp", Port: 110, Security: "starttls", User: "taro",
				PasswordFile: filepath.Join(dir, "secrets", "taro"), Exclude: []string{}, Master: "office", Pull: true, Line: 16},
			{Name: "lan", Protocol: "imap", Host: "192.168.0.5", Port: 1143, Security: "cleartext", User: "t",
				PasswordEnv: "LAN_PW", CleartextReason: "in our own cellar", Exclude: []string{`\Junk`}, Line: 25},
			{Name: "gmail", Protocol: "imap", Host: "imap.gmail.com", Port: 993, Security: "tls", User: "taro@gmail.com",
				PasswordCommand: command("taro@gmail.com", "gmail"), Exclude: []string{`\Junk`}, Pull: true, Line: 38},
		},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestParseDefaults(t *testing.T) {
	c, err := Parse("c.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Config{File: "c.toml", Limits: Limits{4, 2}}, c); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct {
		protocol, security string
		port               int
	}{{"imap", "tls", 993}, {"imap", "starttls", 143}, {"pop3", "tls", 995}, {"pop3", "starttls", 110}, {"pop3", "cleartext", 110}} {
		a, err := Check(Account{Name: "a", Protocol: tc.protocol, Security: tc.security, Host: "localhost", User: "u"})
		if err != nil || a.Port != tc.port {
			t.Errorf("%s %s: port %d, %v", tc.protocol, tc.security, a.Port, err)
		}
	}
}

func TestInlineAccounts(t *testing.T) {
	c, err := Parse("c.toml", []byte(`account = [{name="a", protocol="imap", host="h.jp", user="u"},
 {name="b", protocol="imap", host="h.jp", user="v"}]
`))
	if err != nil || len(c.Accounts) != 2 || c.Accounts[1].Name != "b" {
		t.Fatal(c, err)
	}
}

// account returns a file with one good account, some of whose lines are
// replaced: "key = value" replaces the line of that key, or is added.
func account(lines ...string) string {
	all := []string{"[[account]]", `name = "a"`, `protocol = "imap"`, `host = "imap.example.jp"`, `user = "taro"`}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, " = ")
		i := slices.IndexFunc(all, func(s string) bool { return strings.HasPrefix(s, key+" = ") })
		switch {
		case value == "-" && i >= 0:
			all = slices.Delete(all, i, i+1)
		case i >= 0:
			all[i] = line
		default:
			all = append(all, line)
		}
	}
	return strings.Join(all, "\n") + "\n"
}

type m = map[string]any

var parseErrors = []struct {
	name    string
	file    string
	code    string
	line    int
	column  int
	excerpt string
	args    m // the arguments that matter
}{
	{"utf-16", "\xff\xfe[\x00", CodeNotUTF8, 1, 1, "", m{"encoding": "utf-16"}},
	{"Shift_JIS", "# a\nx = \"\x83\x81\"\n", CodeNotUTF8, 2, 6, "x = \"\uFFFD\uFFFD\"", m{"encoding": ""}},
	{"syntax", "[archive]\npath = mail\n", CodeSyntax, 2, 8, "path = mail", nil},
	{"syntax after wide text", "x = { あ = 1 }", CodeSyntax, 1, 7, "x = { あ = 1 }", nil},
	{"backslash refused", "[archive]\npath = \"E:\\Mail\"", CodeBackslash, 2, 11, `path = "E:\Mail"`, m{"suggestion": "E:/Mail"}},
	{"backslash of Users", "[archive]\r\npath = \"C:\\Users\\taro\"\r\n", CodeBackslash, 2, 0, `path = "C:\Users\taro"`, m{"suggestion": "C:/Users/taro"}},
	{"backslash taken", "[archive]\npath = \"C:\\temp\"", CodeBackslash, 2, 8, `path = "C:\temp"`, m{"suggestion": "C:/temp"}},
	{"duplicate key", "[archive]\npath = \"a\"\npath = \"b\"\n", CodeDuplicateKey, 3, 1, `path = "b"`, m{"key": "path", "first": 2}},
	{"duplicate table", "[archive]\n[limits]\n[archive]\n", CodeDuplicateKey, 3, 2, `[archive]`, m{"key": "archive", "first": 1}},
	{"unknown key", account("pasword_file = \"x\""), CodeUnknownKey, 6, 1, `pasword_file = "x"`, m{"key": "pasword_file", "table": "account", "suggestion": "password_file", "belongs": ""}},
	{"unknown key, first in the file", account("zzz = 1", "aaa = 2"), CodeUnknownKey, 6, 1, `zzz = 1`, m{"key": "zzz", "suggestion": ""}},
	{"unknown table", "[acount]\nname = 1", CodeUnknownKey, 1, 2, `[acount]`, m{"suggestion": "account", "table": ""}},
	{"key in the wrong table", account("path = \"x\""), CodeUnknownKey, 6, 1, `path = "x"`, m{"belongs": "archive"}},
	{"name in defaults", "[defaults]\nname = \"x\"", CodeUnknownKey, 2, 1, `name = "x"`, m{"belongs": "account"}},
	{"capital", account("Port = 993"), CodeUnknownKey, 6, 1, `Port = 993`, m{"suggestion": "port"}},
	{"word of mail programs", account("username = \"x\""), CodeUnknownKey, 6, 1, `username = "x"`, m{"suggestion": "user"}},
	{"password", account("password = \"hunter2\""), CodePasswordInFile, 6, 1, `password …`, m{"key": "password"}},
	{"wrong type", account("port = \"993\""), CodeWrongType, 6, 8, `port = "993"`, m{"key": "port", "want": "integer", "have": "string"}},
	{"command as text", account("password_command = \"pass x\""), CodeWrongType, 6, 20, `password_command = "pass x"`, m{"want": "array-of-strings", "have": "string"}},
	{"command with number", account("password_command = [\"a\", 1]"), CodeWrongType, 6, 20, `password_command = ["a", 1]`, m{"have": "array"}},
	{"master true", account("master = true"), CodeWrongType, 6, 10, `master = true`, m{"want": "string-or-false", "have": "boolean"}},
	{"date", account("user = 2026-01-01"), CodeWrongType, 5, 8, `user = 2026-01-01`, m{"have": "date"}},
	{"large port", account("port = 5000000000"), CodeWrongType, 6, 8, `port = 5000000000`, m{"have": "integer-too-large"}},
	{"archive as text", "archive = \"x\"", CodeWrongType, 1, 11, `archive = "x"`, m{"want": "table"}},
	{"accounts as numbers", "account = [1]", CodeWrongType, 1, 11, `account = [1]`, m{"want": "array-of-tables"}},
	{"single brackets", "[account]\nname = \"a\"\n", CodeSingleBrackets, 1, 2, `[account]`, m{"key": "account"}},
	{"newer", "version = 2", CodeVersionNewer, 1, 11, `version = 2`, m{"version": 2, "known": 1}},
	{"version 0", "version = 0", CodeOutOfRange, 1, 11, `version = 0`, m{"key": "version", "min": 1, "max": 1}},
	{"limit", "[limits]\nper_host = 9", CodeOutOfRange, 2, 12, `per_host = 9`, m{"value": 9, "min": 1, "max": 4}},
	{"limit 0", "[limits]\naccounts = 0", CodeOutOfRange, 2, 12, `accounts = 0`, m{"value": 0}},
	{"port 0", account("port = 0"), CodeOutOfRange, 6, 8, `port = 0`, m{"account": "a", "value": 0, "max": 65535}},
	{"port 70000", account("port = 70000"), CodeOutOfRange, 6, 8, `port = 70000`, m{"value": 70000}},
	{"format", "[archive]\nformat = \"mbx\"", CodeValueUnknown, 2, 10, `format = "mbx"`, m{"suggestion": "mbox", "allowed": "maildir, mbox"}},
	{"protocol", account("protocol = \"POP\""), CodeValueUnknown, 3, 12, `protocol = "POP"`, m{"key": "protocol", "suggestion": "pop3", "allowed": "imap, pop3"}},
	{"security", account("security = \"ssl\""), CodeValueUnknown, 6, 12, `security = "ssl"`, m{"suggestion": "tls"}},
	{"special-use", account(`exclude = ['\Spam']`), CodeValueUnknown, 6, 11, `exclude = ['\Spam']`, m{"key": "exclude", "suggestion": `\Junk`}},
	{"empty exclude", account(`exclude = ['']`), CodeValueEmpty, 6, 11, `exclude = ['']`, m{"key": "exclude"}},
	{"empty path", "[archive]\npath = ''", CodeValueEmpty, 2, 8, `path = ''`, m{"key": "path"}},
	{"empty command", account(`password_command = []`), CodeValueEmpty, 6, 20, `password_command = []`, m{"key": "password_command"}},
	{"empty file", account(`password_file = ""`), CodeValueEmpty, 6, 17, `password_file = ""`, m{"key": "password_file"}},
	{"empty host", account(`host = ""`), CodeValueEmpty, 4, 8, `host = ""`, m{"key": "host"}},
	{"no name", account(`name = -`), CodeKeyMissing, 1, 3, `[[account]]`, m{"key": "name", "account": ""}},
	{"no protocol", account(`protocol = -`), CodeKeyMissing, 1, 3, `[[account]]`, m{"key": "protocol", "account": "a"}},
	{"no host", account(`host = -`), CodeKeyMissing, 1, 3, `[[account]]`, m{"key": "host"}},
	{"no user", account(`user = -`), CodeKeyMissing, 1, 3, `[[account]]`, m{"key": "user"}},
	{"name", account(`name = "あ"`), CodeNameInvalid, 2, 8, `name = "あ"`, m{"name": "あ"}},
	{"name dots", account(`name = ".."`), CodeNameInvalid, 2, 8, `name = ".."`, nil},
	{"name like an option", account(`name = "-x"`), CodeNameInvalid, 2, 8, `name = "-x"`, nil},
	{"name twice", account() + account(`name = "A"`), CodeNameTwice, 7, 8, `name = "A"`, m{"name": "A", "first": 1}},
	{"address", account(`host = "taro@example.jp"`), CodeHostIsAddress, 4, 8, `host = "taro@example.jp"`, m{"host": "taro@example.jp"}},
	{"address with password", account(`host = "taro:hunter2@example.jp"`), CodeHostIsAddress, 4, 8, `host = "taro:…@example.jp"`, m{"host": "…@example.jp"}},
	{"scheme", account(`host = "https://imap.example.jp/x"`), CodeHostHasScheme, 4, 8, `host = "https://imap.example.jp/x"`, m{"suggestion": "imap.example.jp"}},
	{"scheme with password", account(`host = "imaps://t:hunter2@h.jp"`), CodeHostHasScheme, 4, 8, `host = "imaps://…@h.jp"`, m{"suggestion": "h.jp"}},
	{"path", account(`host = "imap.example.jp/mail"`), CodeHostHasPath, 4, 8, `host = "imap.example.jp/mail"`, m{"suggestion": "imap.example.jp"}},
	{"blank", account(`host = " imap.example.jp"`), CodeHostHasBlank, 4, 8, `host = " imap.example.jp"`, m{"suggestion": "imap.example.jp"}},
	{"name of a person", account(`host = "山田 太郎"`), CodeHostHasBlank, 4, 8, `host = "山田 太郎"`, m{"suggestion": ""}},
	{"colon", account(`host = "imap.example.jp:993"`), CodeHostHasPort, 4, 8, `host = "imap.example.jp:993"`, m{"suggestion": "imap.example.jp", "port": 993}},
	{"full width", account(`host = "ｉｍａｐ．example．jp"`), CodeHostFullWidth, 4, 8, `host = "ｉｍａｐ．example．jp"`, m{"suggestion": "imap.example.jp"}},
	{"ideographic full stop", account(`host = "imap。example。jp"`), CodeHostFullWidth, 4, 8, `host = "imap。example。jp"`, m{"suggestion": "imap.example.jp"}},
	{"international", account(`host = "日本語.jp"`), CodeHostNotASCII, 4, 8, `host = "日本語.jp"`, m{"host": "日本語.jp"}},
	{"smtp", account(`host = "smtp.example.jp"`), CodeHostOfSMTP, 4, 8, `host = "smtp.example.jp"`, m{"host": "smtp.example.jp"}},
	{"trailing dot", account(`host = "imap.example.jp."`), CodeHostInvalid, 4, 8, `host = "imap.example.jp."`, m{"suggestion": "imap.example.jp"}},
	{"half an address", account(`host = "192.168.1"`), CodeHostInvalid, 4, 8, `host = "192.168.1"`, nil},
	{"comma", account(`host = "imap,example,jp"`), CodeHostInvalid, 4, 8, `host = "imap,example,jp"`, nil},
	{"smtp port", account("port = 587"), CodePortOfOtherProtocol, 6, 8, "port = 587", m{"other": "smtp", "want": 993, "protocol": "imap", "host": "imap.example.jp"}},
	{"web port", account("port = 443"), CodePortOfOtherProtocol, 6, 8, "port = 443", m{"other": "web"}},
	{"POP3 port", account("port = 995"), CodePortOfOtherProtocol, 6, 8, "port = 995", m{"other": "pop3", "want": 993}},
	{"IMAP port", account("protocol = \"pop3\"", "port = 993"), CodePortOfOtherProtocol, 6, 8, "port = 993", m{"other": "imap", "want": 995}},
	{"port from defaults", "[defaults]\nport = 995\n" + account(), CodePortOfOtherProtocol, 2, 8, "port = 995", m{"account": "a"}},
	{"TLS on 143", account("port = 143"), CodePortSecurityMismatch, 6, 8, "port = 143", m{"want_port": 993, "want_security": "starttls", "security": "tls"}},
	{"STARTTLS on 993", account("security = \"starttls\"", "port = 993"), CodePortSecurityMismatch, 7, 8, "port = 993", m{"want_port": 143, "want_security": "tls"}},
	{"cleartext", account("security = \"cleartext\""), CodeCleartext, 6, 12, `security = "cleartext"`, m{"host": "imap.example.jp"}},
	{"two passwords", account("password_env = \"A\"", "password_file = \"b\""), CodeSeveralPasswords, 6, 16, `password_env = "A"`, m{"key": "password_env", "other": "password_file"}},
	{"password as variable", account("password_env = \"hunter-2\""), CodeEnvNameInvalid, 6, 16, `password_env = …`, m{"key": "password_env"}},
	{"line end in user", account("user = \"a\\r\\nQUIT\""), CodeUserControl, 5, 8, `user = "a\r\nQUIT"`, nil},
	{"NUL in user", account("user = \"a\\u0000\""), CodeUserControl, 5, 8, `user = "a\u0000"`, nil},
	{"blank in user", account("user = \"taro \""), CodeUserBlank, 5, 8, `user = "taro "`, m{"suggestion": "taro"}},
	{"full-width user", account("user = \"taro＠example.jp\""), CodeUserFullWidth, 5, 8, `user = "taro＠example.jp"`, m{"suggestion": "taro@example.jp"}},
	{"no such master", account() + "[master]\naccount = \"gmial\"\n" + account(`name = "gmail"`), CodeMasterUnknown, 7, 11, `account = "gmial"`, m{"master": "gmial", "suggestion": "gmail"}},
	{"no such master of account", account("master = \"b\""), CodeMasterUnknown, 6, 10, `master = "b"`, m{"account": "a", "master": "b"}},
	{"POP3 master", account() + "[master]\naccount = \"p\"\n" + account(`name = "p"`, `protocol = "pop3"`), CodeMasterIsPOP3, 7, 11, `account = "p"`, m{"master": "p"}},
	{"own master", account("master = \"a\""), CodeMasterCycle, 6, 10, `master = "a"`, m{"cycle": "a → a"}},
	{"cycle", account("master = \"b\"") + account(`name = "b"`, `master = "a"`), CodeMasterCycle, 6, 10, `master = "b"`, m{"cycle": "a → b → a"}},
	{"cycle with the general master", account() + account(`name = "b"`, `master = "a"`) + "[master]\naccount = \"b\"\n", CodeMasterCycle, 1, 3, `[[account]]`, m{"cycle": "a → b → a"}},
}

func TestParseErrors(t *testing.T) {
	for _, tc := range parseErrors {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("dir/config.toml", []byte(tc.file))
			e := demand(t, err, tc.code, tc.args)
			if e.File != "dir/config.toml" || e.Line != tc.line || tc.column > 0 && e.Column != tc.column || e.Excerpt != tc.excerpt {
				t.Errorf("got %s:%d:%d %q, want line %d:%d %q", e.File, e.Line, e.Column, e.Excerpt, tc.line, tc.column, tc.excerpt)
			}
		})
	}
}

// demand fails unless err is an *Error with that code and at least those args.
func demand(t *testing.T, err error, code string, want m) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want code %s", err, code)
	}
	if e.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	for k, v := range want {
		if e.Args[k] != v {
			t.Errorf("argument %s = %#v, want %#v", k, e.Args[k], v)
		}
	}
	if strings.Contains(e.Error()+e.Excerpt, "hunter") {
		t.Errorf("the password is in %q or %q", e.Error(), e.Excerpt)
	}
	return e
}

func TestPathOfWindows(t *testing.T) {
	if _, ok := absolute("c.toml", "E:/MailArchive", false); ok {
		t.Error("E:/MailArchive was taken for a path of this system")
	}
	if runtime.GOOS == "windows" {
		return
	}
	_, err := Parse("c.toml", []byte("[archive]\npath = 'E:\\Mail'"))
	demand(t, err, CodePathOfWindows, m{"key": "path", "path": `E:\Mail`})
}

func TestEveryCodeIsListedAndMet(t *testing.T) {
	met := map[string]bool{
		CodeFileMissing: true, CodeFileUnreadable: true, CodeFileTooLarge: true, CodePathOfWindows: true,
		CodeAccountUnknown: true, CodeNoHome: true, // by tests of their own
	}
	for _, tc := range parseErrors {
		met[tc.code] = true
	}
	for _, tc := range urlErrors {
		met[tc.code] = true
	}
	for _, code := range Codes {
		if !met[code] {
			t.Errorf("no test meets %s", code)
		}
		delete(met, code)
	}
	for code := range met {
		t.Errorf("%s is not in Codes", code)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "none.toml"))
	demand(t, err, CodeFileMissing, m{"path": filepath.Join(dir, "none.toml")})
	_, err = Load(dir)
	demand(t, err, CodeFileUnreadable, nil)
	big := filepath.Join(dir, "big.toml")
	if err := os.WriteFile(big, make([]byte, maxOctets+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(big)
	demand(t, err, CodeFileTooLarge, m{"limit": maxOctets})
	good := filepath.Join(dir, "good.toml")
	if err := os.WriteFile(good, []byte(fine), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(good)
	if err != nil || c.Archive.Path != filepath.Join(dir, "mail") {
		t.Error(c, err)
	}
}

func TestRelativePaths(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Setenv("USERPROFILE", `C:\home`)
	}
	t.Setenv("HOME", "/home/taro")
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, want string }{
		{"~/mail", filepath.Join(home, "mail")},
		{"mail", filepath.Join(here, "etc", "mail")},
		{"../mail", filepath.Join(here, "mail")},
		{"~taro", filepath.Join(here, "etc", "~taro")},
	} {
		if got, ok := absolute(filepath.Join("etc", "c.toml"), tc.path, false); !ok || got != tc.want {
			t.Errorf("%s: %s, want %s", tc.path, got, tc.want)
		}
	}
}

func TestMask(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{`password = "hunter2"`, `password …`},
		{`password hunter2`, `password …`},
		{`  "password": hunter2`, `  "password …`},
		{`PassWord="hunter2"`, `PassWord …`},
		{`imap_password = hunter2`, `imap_password …`},
		{`パスワード = "hunter2"`, `パスワード …`},
		{`account = [{name = "a", password = "hunter2"}]`, `account = [{name = "a", password =…`},
		{`host = "h" # pass: hunter2`, `host = "h" #…`},
		{`password_env = "hunter2"`, `password_env = …`},
		{`password_env = "MAIL_PW"`, `password_env = "MAIL_PW"`},
		{`password_command = ["pass", "show", "x"]`, `password_command = ["pass", "show", "x"]`},
		{`password_command = ["x", "--token=hunter2"]`, `password_command = ["x", "--token=…`},
		{`password_file = "~/.secret"`, `password_file = "~/.secret"`},
		{`user = "passcal@example.jp"`, `user = "passcal@example.jp"`},
		{`host = "imaps://t:hunter2@h"`, `host = "imaps://…@h"`},
	} {
		if got := mask(tc.line); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.line, got, tc.want)
		}
	}
}

// A parser stops at many places of a line or after it; none of them may show
// what stands behind a word for a password.
func TestNoPasswordInSyntaxErrors(t *testing.T) {
	for _, file := range []string{
		"password = hunter2\n", "password hunter2\n", "password: hunter2\n", "password = \"hunter2\n\n", "password = \"hun\"hunter2\"\n",
		"password = \"\"\"\nhunter2 \\q\n\"\"\"\n", "[[account]]\npassword = [\n\"a\",\n hunter2 ]\n", "token = 'hunter2\n'",
		"x = \"a\"\npassword = hunter2\nx = 1\n", "password = \"\\hunter2\"",
	} {
		_, err := Parse("c.toml", []byte(file))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", file, err)
			continue
		}
		if s := e.Error() + e.Excerpt; strings.Contains(s, "hunter") {
			t.Errorf("%q: %s", file, s)
		}
		for _, v := range e.Args {
			if s, ok := v.(string); ok && strings.Contains(s, "hunter") {
				t.Errorf("%q: %s", file, s)
			}
		}
	}
}

func TestSelect(t *testing.T) {
	c, err := Parse("c.toml", []byte(account()+account(`name = "b1"`)+account(`name = "b2"`)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		patterns []string
		want     string
	}{{nil, "a b1 b2"}, {[]string{"b*"}, "b1 b2"}, {[]string{"b2", "a", "a"}, "a b2"}, {[]string{"b?", "b1"}, "b1 b2"}} {
		got, err := c.Select(tc.patterns...)
		if err != nil || strings.Join(names(got), " ") != tc.want {
			t.Errorf("%q: %v %v", tc.patterns, names(got), err)
		}
	}
	_, err = c.Select("a", "b3")
	demand(t, err, CodeAccountUnknown, m{"name": "b3", "suggestion": "b1"})
	_, err = c.Select("[")
	demand(t, err, CodeAccountUnknown, m{"suggestion": ""})
	if _, ok := c.Account("b1"); !ok {
		t.Error("b1 is not found")
	}
}

func TestStateDir(t *testing.T) {
	for _, tc := range []struct {
		goos string
		env  map[string]string
		want string
	}{
		{"linux", map[string]string{"HOME": "/h"}, "/h/.local/state/fumibako"},
		{"linux", map[string]string{"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/fumibako"},
		{"darwin", map[string]string{"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/h/Library/Application Support/fumibako"},
		{"windows", map[string]string{"LocalAppData": "/l"}, "/l/fumibako"},
		{"linux", nil, ""}, {"darwin", nil, ""}, {"windows", nil, ""},
	} {
		got, err := stateDir(tc.goos, func(k string) string { return tc.env[k] })
		if tc.want == "" {
			want := "HOME"
			if tc.goos == "windows" {
				want = "LocalAppData"
			}
			demand(t, err, CodeNoHome, m{"variable": want})
		} else if err != nil || filepath.ToSlash(got) != tc.want {
			t.Errorf("%s %v: %s %v", tc.goos, tc.env, got, err)
		}
	}
	if runtime.GOOS != "windows" {
		if got, err := stateDir("linux", func(string) string { return "/s" }); err != nil || got != "/s/fumibako" {
			t.Error(got, err)
		}
	}
	if p, err := DefaultPath(); err == nil && !strings.HasSuffix(filepath.ToSlash(p), "fumibako/config.toml") {
		t.Error(p)
	}
}

// A file that is not ours at all must not cost more than reading it.
func TestDeepFiles(t *testing.T) {
	n := maxOctets/2 - 2
	for _, file := range []string{
		strings.Repeat("a.", n) + "a=1", "[" + strings.Repeat("a.", n/2) + "a]\n" + strings.Repeat("b=1\n", n/4),
		"a=" + strings.Repeat("[", n), strings.Repeat("[[a]]\n", n/4), "a=" + strings.Repeat("{a=", n/2),
	} {
		if _, err := Parse("c.toml", []byte(file)); err == nil {
			t.Errorf("%.20q… was accepted", file)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(fine))
	for _, tc := range parseErrors {
		f.Add([]byte(tc.file))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		c, err := Parse("c.toml", octets)
		if err == nil {
			for _, a := range c.Accounts {
				if _, err := Check(a); err != nil {
					t.Fatalf("accepted, but %v", err)
				}
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
		if !slices.Contains(Codes, e.Code) || strings.ContainsAny(e.Excerpt, "\r\n\x1b") {
			t.Fatalf("%v %q", e, e.Excerpt)
		}
	})
}
