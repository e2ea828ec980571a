package config

import (
	"runtime"
	"strconv"
	"strings"
	"unicode"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// config makes the Config of a document whose keys and types are right.
func (d *document) config() (*Config, error) {
	c := &Config{File: d.file, Limits: Limits{Accounts: defAccounts, PerHost: defPerHost}}
	if err := d.general(c); err != nil {
		return nil, err
	}
	lines := map[string]int{}
	for i, raw := range d.raw.Accounts {
		a, err := d.account(i, raw)
		if err != nil {
			return nil, err
		}
		// On Windows and macOS two such names would be one folder.
		folded := strings.ToLower(a.Name)
		if first := lines[folded]; first > 0 {
			return nil, d.errorAtValue(CodeNameTwice, safe.Args("account", a.Name, "name", a.Name, "first", first),
				d.accountPath(i, "name"))
		}
		lines[folded] = a.Line
		c.Accounts = append(c.Accounts, a)
	}
	if err := d.masters(c); err != nil {
		return nil, err
	}
	return c, nil
}

// general reads everything but the accounts.
func (d *document) general(c *Config) error {
	if v := d.raw.Version; v != nil {
		if *v > newestVersion {
			return d.errorAtValue(CodeVersionNewer, safe.Args("version", *v, "known", newestVersion), []string{"version"})
		}
		if *v < 1 {
			return d.errorAtValue(CodeOutOfRange,
				safe.Args("account", "", "key", "version", "value", *v, "min", 1, "max", newestVersion), []string{"version"})
		}
		c.Version = *v
	}
	if p := d.raw.Archive.Path; p != nil {
		abs, err := d.filePath("", "path", *p, []string{"archive", "path"})
		if err != nil {
			return err
		}
		c.Archive.Path = abs
	}
	if f := d.raw.Archive.Format; f != nil {
		if x := checkWord("", "format", *f, formatMaildir, formatMbox); x != nil {
			return d.errorAtValue(x.code, x.args, []string{"archive", "format"})
		}
		c.Archive.Format = *f
	}
	for _, limit := range []struct {
		key     string
		value   *int
		max     int
		purpose *int
	}{
		{"accounts", d.raw.Limits.Accounts, maxAccounts, &c.Limits.Accounts},
		{"per_host", d.raw.Limits.PerHost, maxPerHost, &c.Limits.PerHost},
	} {
		if limit.value == nil {
			continue
		}
		if *limit.value < 1 || *limit.value > limit.max {
			return d.errorAtValue(CodeOutOfRange,
				safe.Args("account", "", "key", limit.key, "value", *limit.value, "min", 1, "max", limit.max),
				[]string{"limits", limit.key})
		}
		*limit.purpose = *limit.value
	}
	return nil
}

// filePath makes the path under key absolute.
func (d *document) filePath(account, key, p string, at []string) (string, error) {
	if p == "" {
		return "", d.errorAtValue(CodeValueEmpty, safe.Args("account", account, "key", key), at)
	}
	// "C:\temp\new" is read as C:<tab>emp<line end>ew.
	if strings.ContainsFunc(p, unicode.IsControl) {
		e := d.errorAtValue(CodeBackslash, nil, at)
		e.Args = safe.Args("suggestion", slashed(e.Excerpt))
		return "", e
	}
	abs, ok := absolute(d.file, p, runtime.GOOS == "windows")
	if !ok {
		return "", d.errorAtValue(CodePathOfWindows, safe.Args("account", account, "key", key, "path", p), at)
	}
	return abs, nil
}

// accountPath is the place of a key of the account at index i: in the account
// itself, or in [defaults] if it has the key from there.
func (d *document) accountPath(i int, key string) []string {
	own := []string{"account", strconv.Itoa(i)}
	if key == "" || d.has(append(own, key)...) {
		return append(own, key)
	}
	if d.has("defaults", key) {
		return []string{"defaults", key}
	}
	return own
}

// account merges one account with [defaults] and checks it.
func (d *document) account(i int, own rawAccount) (Account, error) {
	def := d.raw.Defaults
	a := Account{
		Name:            first(own.Name),
		Protocol:        first(own.Protocol, def.Protocol),
		Host:            first(own.Host, def.Host),
		Port:            first(own.Port, def.Port),
		Security:        first(own.Security, def.Security),
		User:            first(own.User, def.User),
		CleartextReason: first(own.CleartextReason, def.CleartextReason),
		Exclude:         own.Exclude,
		Pull:            own.Pull == nil && def.Pull == nil || first(own.Pull, def.Pull),
	}
	if a.Exclude == nil {
		a.Exclude = def.Exclude
	}
	if m, ok := d.place([]string{"account", strconv.Itoa(i)}); ok {
		a.Line = d.line(m.key)
	}
	// The sources of one account replace those of [defaults] together: a
	// password_file here and a password_command there are not two.
	src := own
	if own.PasswordCommand == nil && own.PasswordFile == nil && own.PasswordEnv == nil {
		src = def
	}
	a.PasswordCommand, a.PasswordFile, a.PasswordEnv = src.PasswordCommand, first(src.PasswordFile), first(src.PasswordEnv)
	for _, text := range []struct {
		key   string
		value *string
	}{{"password_file", src.PasswordFile}, {"password_env", src.PasswordEnv}, {"host", own.Host}, {"user", own.User},
		{"name", own.Name}, {"protocol", own.Protocol}, {"security", own.Security}} {
		if text.value != nil && *text.value == "" {
			return a, d.errorAtValue(CodeValueEmpty, safe.Args("account", a.Name, "key", text.key), d.accountPath(i, text.key))
		}
	}
	if p := first(own.Port, def.Port); p == 0 && (own.Port != nil || def.Port != nil) {
		a.Port = -1 // 0 was written, and must not pass for "left out"
	}
	a, f := complete(a)
	if f != nil {
		if _, ok := f.args["value"]; ok && f.key == "port" {
			f.args["value"] = first(own.Port, def.Port)
		}
		return a, d.errorAtValue(f.code, f.args, d.accountPath(i, f.key))
	}
	expand := strings.NewReplacer(placeholderUsr, a.User, placeholderNam, a.Name)
	for n, arg := range a.PasswordCommand {
		if n == 0 {
			a.PasswordCommand = append([]string(nil), a.PasswordCommand...)
		}
		a.PasswordCommand[n] = expand.Replace(arg)
	}
	if a.PasswordFile != "" {
		abs, err := d.filePath(a.Name, "password_file", expand.Replace(a.PasswordFile), d.accountPath(i, "password_file"))
		if err != nil {
			return a, err
		}
		a.PasswordFile = abs
	}
	return a, nil
}

// first returns the first value that is set, or the zero value.
func first[T any](values ...*T) T {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	var zero T
	return zero
}

// masters resolves who is pushed where: the account's own key, that of
// [defaults], [master]. The account that the latter two name is not its own
// master.
func (d *document) masters(c *Config) error {
	if m := d.raw.Master.Account; m != nil {
		if err := d.masterExists(c, "", *m, []string{"master", "account"}); err != nil {
			return err
		}
		c.Master = *m
	}
	byName := map[string]int{}
	for i := range c.Accounts {
		byName[c.Accounts[i].Name] = i
		master, at, err := d.masterOf(c, i)
		if err != nil {
			return err
		}
		if at[0] != "account" && master == c.Accounts[i].Name {
			master = ""
		}
		c.Accounts[i].Master = master
	}
	for i := range c.Accounts {
		chain := []string{c.Accounts[i].Name}
		for next := c.Accounts[i].Master; next != ""; next = c.Accounts[byName[next]].Master {
			chain = append(chain, next)
			if next == chain[0] {
				return d.errorAtValue(CodeMasterCycle,
					safe.Args("account", chain[0], "cycle", strings.Join(chain, " → ")), d.accountPath(i, "master"))
			}
			if len(chain) > len(c.Accounts) {
				break // a cycle further on, which its own members report
			}
		}
	}
	return nil
}

// masterOf returns the master of the account at index i and where it is set.
func (d *document) masterOf(c *Config, i int) (string, []string, error) {
	value, at := d.raw.Accounts[i].Master, d.accountPath(i, "master")
	if value == nil {
		value = d.raw.Defaults.Master
	}
	switch v := value.(type) {
	case string:
		if err := d.masterExists(c, c.Accounts[i].Name, v, at); err != nil {
			return "", at, err
		}
		return v, at, nil
	case bool:
		return "", at, nil
	}
	return c.Master, []string{"master", "account"}, nil
}

func (d *document) masterExists(c *Config, account, master string, at []string) error {
	m, ok := c.Account(master)
	if !ok {
		return d.errorAtValue(CodeMasterUnknown,
			safe.Args("account", account, "master", master, "suggestion", nearest(master, names(c.Accounts))), at)
	}
	if m.Protocol != protocolIMAP {
		return d.errorAtValue(CodeMasterIsPOP3, safe.Args("account", account, "master", master), at)
	}
	return nil
}
