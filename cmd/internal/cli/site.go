package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
)

// site is an archive and what is to be pulled into it.
type site struct {
	path     string
	format   archive.Format
	create   bool // begin the archive if there is none
	stateDir string
	limits   config.Limits
	password string // of every account: the demonstration's, which is no secret; "" everywhere else

	// choose picks the accounts of the run; remembered are those the archive knows.
	choose func(remembered []archive.Account) ([]config.Account, error)
}

func (a *app) configPath() (string, error) {
	if a.opts.config != "" {
		return a.opts.config, nil
	}
	return config.DefaultPath()
}

func (a *app) loadConfig() (*config.Config, error) {
	path, err := a.configPath()
	if err != nil {
		return nil, err
	}
	return config.Load(path)
}

// hasConfig reports whether there is a configuration. A file that was named
// and is not there is a mistake, not an absence.
func (a *app) hasConfig() bool {
	_, err := a.loadConfig()
	var e *config.Error
	return a.opts.config != "" || !errors.As(err, &e) || e.Code != config.CodeFileMissing
}

// siteOfConfig is the site that the configuration describes. With toPull, the
// accounts are those that are pulled from.
func (a *app) siteOfConfig(patterns []string, toPull bool) (*site, error) {
	c, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	if c.Archive.Path == "" {
		return nil, &report.Usage{Key: phrase.UsageNoArchive, Args: phrase.Args{"File": c.File}}
	}
	accounts, err := c.Select(patterns...)
	if err != nil {
		return nil, err
	}
	if len(patterns) == 0 {
		accounts = pulled(accounts)
	}
	for _, x := range accounts {
		if _, err := exclusion(x.Exclude); err != nil {
			return nil, err
		}
	}
	if toPull && len(accounts) == 0 {
		return nil, &report.Usage{Key: phrase.UsageNoAccounts, Args: phrase.Args{"File": c.File}}
	}
	s, err := newSite(c.Archive.Path)
	if err != nil {
		return nil, err
	}
	s.format, s.create, s.limits = archive.Format(c.Archive.Format), true, c.Limits
	s.choose = func([]archive.Account) ([]config.Account, error) { return accounts, nil }
	return s, nil
}

// pulled leaves out what is only a master: it is pulled from when it is named.
func pulled(accounts []config.Account) []config.Account {
	return slices.DeleteFunc(accounts, func(x config.Account) bool { return !x.Pull })
}

func newSite(path string) (*site, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	state, err := config.StateDir()
	if err != nil {
		// Without a home there is nowhere to remember anything. Mail can be kept all the same.
		state = ""
	}
	return &site{path: abs, stateDir: state, limits: config.Limits{Accounts: maxSideBySide, PerHost: defaultPerHost}}, nil
}

// siteOfURLs is an archive for the accounts that were named on the command
// line.
func (a *app) siteOfURLs(urls []string, to string) (*site, error) {
	var accounts []config.Account
	for _, u := range urls {
		account, err := config.ParseURL(u)
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, account)
	}
	s, err := newSite(to)
	if err != nil {
		return nil, err
	}
	s.create = true
	s.choose = func(remembered []archive.Account) ([]config.Account, error) {
		return withPassword(withNames(accounts, remembered)), nil
	}
	return s, nil
}

// passwordVariable is the environment variable for the password of the one
// account that is pulled without a configuration.
const passwordVariable = "FUMIBAKO_PASSWORD"

// withPassword lets the password come from the environment if there is one
// account. With several, the servers would be told each other's password.
func withPassword(accounts []config.Account) []config.Account {
	if _, ok := os.LookupEnv(passwordVariable); ok && len(accounts) == 1 {
		accounts[0].PasswordEnv = passwordVariable
	}
	return accounts
}

// withNames gives each account the name under which the archive knows it, or a
// name that no other account has.
func withNames(accounts []config.Account, remembered []archive.Account) []config.Account {
	taken := map[string]bool{}
	for _, r := range remembered {
		taken[r.Name] = true
	}
	var out []config.Account
	for _, x := range accounts {
		i := slices.IndexFunc(remembered, func(r archive.Account) bool {
			return r.Protocol == x.Protocol && r.Host == x.Host && r.User == x.User
		})
		switch {
		case i >= 0:
			x.Name = remembered[i].Name
		case taken[x.Name]:
			base := x.Name + "." + x.Protocol
			x.Name = base
			for n := 2; taken[x.Name]; n++ {
				x.Name = base + "-" + strconv.Itoa(n)
			}
		}
		if !slices.ContainsFunc(out, func(o config.Account) bool { return o.Name == x.Name }) {
			out = append(out, x)
		}
		taken[x.Name] = true
	}
	return out
}

// siteOfArchive is the archive in a folder, with the accounts it remembers.
func (a *app) siteOfArchive(patterns []string, to string) (*site, error) {
	s, err := newSite(to)
	if err != nil {
		return nil, err
	}
	s.choose = func(remembered []archive.Account) ([]config.Account, error) {
		c := &config.Config{}
		for _, r := range remembered {
			c.Accounts = append(c.Accounts, config.Account{
				Name: r.Name, Protocol: r.Protocol, Host: r.Host, Port: r.Port, Security: r.Security, User: r.User, Pull: true,
			})
		}
		if len(c.Accounts) == 0 {
			return nil, &report.Usage{Key: phrase.UsageNothingRemembered, Args: phrase.Args{"Path": s.path}}
		}
		chosen, err := c.Select(patterns...)
		return withPassword(chosen), err
	}
	return s, nil
}

// isAbsent reports whether err says that there is no archive, or nothing in it
// yet.
func isAbsent(err error) bool {
	var e *archive.Error
	return errors.As(err, &e) && e.Code == archive.CodeAbsent || errors.Is(err, fs.ErrNotExist)
}
