package archive

import (
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/fumibako-mail/fumibako/dedupe"
)

// Account identifies an account as the archive remembers it.
type Account struct {
	Name, Protocol, Host, User string
	Port                       int
	Security                   string
}

// Enrolled is an account's place in the archive.
type Enrolled struct {
	Name  string // under which its mailboxes lie: the first name it was seen with
	Epoch uint32
}

// enrolment is one line of accounts.log.
type enrolment struct {
	Type     string `json:"t"` // "account"
	At       int64  `json:"at"`
	Folder   text   `json:"folder"` // Enrolled.Name
	Epoch    uint32 `json:"epoch"`
	Name     text   `json:"name"`
	Protocol string `json:"protocol"`
	Host     text   `json:"host"`
	User     text   `json:"user"`
	Port     int    `json:"port"`
	Security string `json:"security"`
}

func (e enrolment) account() Account {
	return Account{string(e.Name), e.Protocol, string(e.Host), string(e.User), e.Port, e.Security}
}

func (a *Archive) loadAccounts() error {
	f, err := a.fs.open(accountsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sound, bad, err := readLines(f, 0, func(j []byte, _ int64) error {
		var e enrolment
		if json.Unmarshal(j, &e) == nil && e.Type == "account" {
			a.accounts = append(a.accounts, e)
		}
		return nil
	})
	f.Close()
	if err != nil {
		return err
	}
	if bad > 0 {
		a.note(NoteDamagedJournal, accountsFile, bad)
	}
	return a.mendTail(accountsFile, sound)
}

// Enroll finds the account's place in the archive, or makes one. If protocol,
// host or user are not those last seen under this name, a new epoch begins:
// what the other server called its messages means nothing on this one. An
// account that only changed its name, port or security keeps place and epoch.
func (a *Archive) Enroll(acc Account) (Enrolled, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	place := Enrolled{Name: acc.Name, Epoch: 1}
	known := false
	for i := len(a.accounts) - 1; i >= 0 && !known; i-- {
		e := a.accounts[i]
		if e.Protocol == acc.Protocol && string(e.Host) == acc.Host && string(e.User) == acc.User {
			place = Enrolled{string(e.Folder), e.Epoch}
			known = true
			if e.account() == acc {
				return place, nil
			}
		}
	}
	for _, e := range a.accounts {
		if !known && string(e.Folder) == acc.Name && e.Epoch >= place.Epoch {
			place.Epoch = e.Epoch + 1
		}
	}
	if !known {
		// Lines of accounts.log may have been lost, not what they said of mailboxes.
		last, err := a.lastEpoch(place.Name)
		if err != nil {
			return place, failure(indexFile, err)
		}
		place.Epoch = max(place.Epoch, last+1)
	}
	e := enrolment{
		Type: "account", At: time.Now().Unix(), Folder: text(place.Name), Epoch: place.Epoch, Name: text(acc.Name),
		Protocol: acc.Protocol, Host: text(acc.Host), User: text(acc.User), Port: acc.Port, Security: acc.Security,
	}
	line, err := appendLine(nil, e)
	if err != nil {
		return place, err
	}
	if err := a.appendLines(accountsFile, line); err != nil {
		return place, failure(accountsFile, err)
	}
	if err := a.fs.sync.files(); err != nil {
		return place, failure(accountsFile, err)
	}
	a.accounts = append(a.accounts, e)
	return place, nil
}

// lastEpoch is the highest epoch that any message below an account's folder was
// found in; 0 if none was.
func (a *Archive) lastEpoch(folder string) (last uint32, err error) {
	err = a.index.View(func(tx *dedupe.Tx) error {
		for id, m := range a.byID {
			if m.account == folder {
				last = max(last, tx.LastEpoch(id))
			}
		}
		return nil
	})
	return last, err
}

// Accounts lists the accounts the archive knows, each as it was last seen, in
// the order in which they were first seen.
func (a *Archive) Accounts() []Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []Account
	at := map[[3]string]int{}
	for _, e := range a.accounts {
		k := [3]string{e.Protocol, string(e.Host), string(e.User)}
		i, ok := at[k]
		if !ok {
			i = len(list)
			at[k] = i
			list = append(list, Account{})
		}
		list[i] = e.account()
	}
	return list
}
