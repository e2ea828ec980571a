package report

import (
	"encoding/json"
	"time"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
)

// A Status is the content of the archive's status file: for each account what
// its last run came to. It is written at the end of a run and read without a
// lock.
type Status struct {
	Version  int             `json:"version"`
	Written  time.Time       `json:"written"`
	Accounts []AccountStatus `json:"accounts"`
}

// AccountStatus is the last known state of one account.
type AccountStatus struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	User     string `json:"user"`

	LastRun      time.Time    `json:"last_run"`                // end of the last run that tried this account
	LastComplete *time.Time   `json:"last_complete,omitempty"` // end of the last run with nothing missing
	Verdict      Verdict      `json:"verdict"`                 // of the last run
	Scope        string       `json:"scope"`
	Class        string       `json:"class"`
	Error        string       `json:"error"`
	Messages     JSONMessages `json:"messages"`         // of the last run that could list the account
	Octets       int64        `json:"octets"`           // stored in all runs together
	Newest       *time.Time   `json:"newest,omitempty"` // date of the newest message held
	Rate         int64        `json:"rate,omitempty"`   // octets in a second, of the last run that was long enough to tell
}

// ReadStatus reads a status file; octets that are no status file of this or an
// older version give an empty Status.
func ReadStatus(octets []byte) *Status {
	s := &Status{}
	if err := json.Unmarshal(octets, s); err != nil || s.Version < 1 || s.Version > Version {
		return &Status{Version: Version}
	}
	return s
}

// Octets is the status as it is written to disk.
func (s *Status) Octets() ([]byte, error) {
	octets, err := json.MarshalIndent(s, "", "  ")
	return append(octets, '\n'), err
}

// Account returns what is known about the account of that name.
func (s *Status) Account(name string) (AccountStatus, bool) {
	for _, a := range s.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return AccountStatus{}, false
}

// Merge enters the results of a run. Accounts the run did not try keep what
// was known about them.
func (s *Status) Merge(r *Run) {
	s.Version, s.Written = Version, r.Ended
	for _, a := range r.Accounts {
		old, _ := s.Account(a.Name)
		if old.Protocol != a.Protocol || old.Host != a.Host || old.User != a.User {
			old = AccountStatus{} // another account under the same name: nothing of it is known
		}
		s.put(a.status(old, r.Began, r.Ended))
	}
}

func (s *Status) put(a AccountStatus) {
	for i := range s.Accounts {
		if s.Accounts[i].Name == a.Name {
			s.Accounts[i] = a
			return
		}
	}
	s.Accounts = append(s.Accounts, a)
}

// minRate is how much a run must have brought before it says something about
// the speed of the line.
const minRate = 1 << 20

func (a Account) status(old AccountStatus, began, ended time.Time) AccountStatus {
	s := old
	s.Name, s.Protocol, s.Host, s.Port, s.User, s.Scope = a.Name, a.Protocol, a.Host, a.Port, a.User, scope(a.Protocol)
	s.LastRun, s.Verdict, s.Class, s.Error = ended, a.Verdict, "", ""
	if err := a.failure(); err != nil {
		c := Explain(phrase.New(phrase.English), err, a.About)
		s.Class, s.Error = c.Class, c.Error
	}
	if a.Verdict == Complete {
		s.LastComplete = &ended
	}
	if a.Ledger == nil {
		return s
	}
	if a.Ledger.ListedAll {
		s.Messages = messages(a.Counts)
	}
	s.Octets += a.Counts.Octets
	if t := a.Ledger.Newest; !t.IsZero() && (s.Newest == nil || t.After(*s.Newest)) {
		s.Newest = &t
	}
	if d := ended.Sub(began); a.Counts.Octets > minRate && d > 0 {
		s.Rate = int64(float64(a.Counts.Octets) / d.Seconds())
	}
	return s
}
