// Package config turns the configuration file and account URLs into plain
// structs, and says exactly what is wrong with them.
//
// An account is one mailbox holder on one server, reached by one protocol; its
// name is what the user calls it and the name of its folder in the archive. The
// master is the account that the others are pushed into. What Load, Parse and
// ParseURL return is complete and possible: every default is filled in, ports,
// security and protocol fit each other, hosts are host names, paths are
// absolute, every master exists. What is not possible is an *Error with file,
// line, the line itself and a code; nothing is repaired in silence.
//
// The package reads that one file and nothing else: it opens no archive, no
// network and no password source, and passwords have no place in it. It does
// not write the sentences a user reads (package phrase does, from Error.Code
// and Error.Args).
package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

const (
	maxOctets      = 256 << 10 // a thousand accounts fit in; a wrong file does not get far
	newestVersion  = 1
	maxAccounts    = 4 // accounts side by side
	maxPerHost     = 4 // sessions on one host, push included
	defAccounts    = 4
	defPerHost     = 2
	protocolIMAP   = "imap"
	protocolPOP3   = "pop3"
	securityTLS    = "tls"
	securityStart  = "starttls"
	securityPlain  = "cleartext"
	formatMaildir  = "maildir"
	formatMbox     = "mbox"
	placeholderUsr = "{user}"
	placeholderNam = "{name}"
)

// A Config is one configuration file, checked and with every default filled in.
// It is never changed after Parse and may be read concurrently.
type Config struct {
	File     string // as named to Load or Parse
	Version  int    // of the file's format; 0 if the file does not say
	Archive  Archive
	Limits   Limits
	Accounts []Account // in the order of the file; may be empty
	Master   string    // [master] account: the name of an account, or ""
}

// Archive says where mail is kept.
type Archive struct {
	Path   string // absolute; "" if the file does not say
	Format string // "maildir", "mbox", or "": decided by system and file system
}

// Limits bound what runs at the same time.
type Limits struct {
	Accounts int // accounts side by side, 1–4
	PerHost  int // sessions per host, 1–4
}

// An Account says where and as whom to fetch mail, and where the password
// comes from; it never holds one.
type Account struct {
	Name            string
	Protocol        string // "imap" or "pop3"
	Host            string // a host name in ASCII, or an IP address without brackets
	Port            int
	Security        string // "tls", "starttls" (STLS for POP3) or "cleartext"
	User            string
	PasswordCommand []string // program and arguments; {user} and {name} are expanded
	PasswordFile    string   // absolute; {user} and {name} are expanded
	PasswordEnv     string   // the name of an environment variable
	CleartextReason string   // why cleartext is allowed off loopback
	Exclude         []string // special-use names such as `\Junk`, or mailbox globs
	Master          string   // the account this one is pushed into; "": archive only
	Pull            bool     // false: only a master, nothing is fetched from it

	Line int // the line in the file where the account begins; 0 without a file
}

// Load reads the configuration file at path. Its failures are *Error.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		code := CodeFileUnreadable
		if errors.Is(err, fs.ErrNotExist) {
			code = CodeFileMissing
		}
		return nil, &Error{File: path, Code: code, Args: safe.Args("path", path), Err: err}
	}
	defer f.Close()
	octets, err := io.ReadAll(io.LimitReader(f, maxOctets+1))
	if err != nil {
		return nil, &Error{File: path, Code: CodeFileUnreadable, Args: safe.Args("path", path), Err: err}
	}
	return Parse(path, octets)
}

// Parse reads a configuration from octets, which stood in the file name.
// Relative paths in it are relative to the folder of that file; a path that
// begins with "~/" is in the user's home folder. Its failures are *Error.
func Parse(name string, octets []byte) (*Config, error) {
	if len(octets) > maxOctets {
		return nil, &Error{File: name, Code: CodeFileTooLarge, Args: safe.Args("path", name, "limit", maxOctets)}
	}
	// Notepad puts a byte order mark in front of UTF-8.
	octets = bytes.TrimPrefix(octets, []byte("\xef\xbb\xbf"))
	d, err := read(name, octets)
	if err != nil {
		return nil, err
	}
	return d.config()
}

// Account returns the account of that name.
func (c *Config) Account(name string) (Account, bool) {
	for _, a := range c.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return Account{}, false
}

// Select returns the accounts that a command names, in the order of the file
// and each once. A pattern is a name or a glob as in path.Match; without any
// pattern all accounts are meant. A pattern that meets no account is an *Error
// with CodeAccountUnknown.
func (c *Config) Select(patterns ...string) ([]Account, error) {
	if len(patterns) == 0 {
		return append([]Account(nil), c.Accounts...), nil
	}
	chosen := make([]bool, len(c.Accounts))
	for _, p := range patterns {
		met := false
		for i, a := range c.Accounts {
			if ok, err := path.Match(p, a.Name); a.Name == p || err == nil && ok {
				chosen[i], met = true, true
			}
		}
		if !met {
			return nil, &Error{File: c.File, Code: CodeAccountUnknown,
				Args: safe.Args("account", "", "name", p, "suggestion", nearest(p, names(c.Accounts)))}
		}
	}
	var out []Account
	for i, a := range c.Accounts {
		if chosen[i] {
			out = append(out, a)
		}
	}
	return out, nil
}

func names(accounts []Account) []string {
	out := make([]string, len(accounts))
	for i, a := range accounts {
		out[i] = a.Name
	}
	return out
}

// absolute resolves p against the folder of the configuration file. ok is
// false if p has a drive letter that this system does not have.
func absolute(file, p string, windows bool) (abs string, ok bool) {
	if p == "" {
		return "", true
	}
	if !windows && len(p) >= 3 && p[1] == ':' && (p[2] == '/' || p[2] == '\\') {
		// Taken as relative it would put an archive beside the configuration.
		return "", false
	}
	if rest, found := strings.CutPrefix(p, "~/"); found {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, filepath.FromSlash(rest)), true
		}
	}
	p = filepath.FromSlash(p)
	if !filepath.IsAbs(p) {
		p = filepath.Join(filepath.Dir(file), p)
	}
	if a, err := filepath.Abs(p); err == nil {
		p = a
	}
	return filepath.Clean(p), true
}
