package report

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/fumibako-mail/fumibako/archive"
	"github.com/fumibako-mail/fumibako/cmd/internal/config"
	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
	"github.com/fumibako-mail/fumibako/cmd/internal/secret"
	"github.com/fumibako-mail/fumibako/fetch/session"
)

// About says which account a failure belongs to; all fields may be empty.
type About struct {
	Name     string
	Protocol string // "imap" or "pop3"
	Host     string
	Port     int
	Security string
	User     string
}

// A Complaint is a failure in words.
type Complaint struct {
	Class   string // stable: a session.Class, "archive", "config", "secret", "usage", "interrupted" or "local"
	Error   string // stable identifier of the cause
	What    string // what is wrong
	Hint    string // what to do; may be ""
	Server  string // the server's own words, made safe; may be ""
	Place   string // FILE:LINE:COLUMN; may be ""
	Excerpt string // the line that is to blame; may be ""
	Column  int    // of Excerpt, 1-based, in characters; 0 if unknown
}

// The classes of failures that no session can have.
const (
	ClassArchive     = "archive"
	ClassConfig      = "config"
	ClassSecret      = "secret"
	ClassUsage       = "usage"
	ClassInterrupted = "interrupted"
	ClassLocal       = "local"
)

// A Kept is a refusal of an earlier run that stands: nobody has changed the
// secret since, so it was not tried again.
type Kept struct {
	When  time.Time
	Words string // the server's own, unsanitised
}

func (k *Kept) Error() string { return "login refused earlier, secret unchanged" }

// A Usage is a command line that cannot be followed.
type Usage struct {
	Key  phrase.Key // of the sentence pair: Key+".what", Key+".hint"
	Args phrase.Args
}

func (u *Usage) Error() string { return "usage: " + string(u.Key) }

// Explain puts err into words. It tells failures apart by type and code, never
// by text.
func Explain(p *phrase.Printer, err error, about About) Complaint {
	var (
		usage *Usage
		kept  *Kept
		conf  *config.Error
		sec   *secret.Error
		arch  *archive.Error
		sess  *session.Error
	)
	switch {
	// A context's error may be joined to that of what it cut short.
	case errors.Is(err, context.Canceled):
		return pair(p, ClassInterrupted, "interrupted", "run.interrupted", nil)
	case errors.As(err, &usage):
		return pair(p, ClassUsage, strings.TrimPrefix(string(usage.Key), "usage."), usage.Key, usage.Args)
	case errors.As(err, &kept):
		c := pair(p, string(session.ClassAuth), "refused-before", "session.refused-before",
			about.args(phrase.Args{"When": p.Moment(kept.When)}))
		c.Server = safe.Text(kept.Words, maxWords)
		return c
	case errors.As(err, &conf):
		return explainConfig(p, conf)
	case errors.As(err, &sec):
		return pair(p, ClassSecret, sec.Code, phrase.Key("secret."+sec.Code), named(p, sec.Args), about.args(nil))
	case errors.As(err, &arch):
		return pair(p, ClassArchive, arch.Code, phrase.Key("archive."+arch.Code),
			phrase.Args{"Path": arch.Path, "Text": arch.Text, "Cause": cause(arch.Err)})
	case errors.As(err, &sess):
		return explainSession(p, sess, about)
	}
	return pair(p, ClassLocal, "unexpected", "run.unexpected", phrase.Args{"Cause": cause(err)})
}

const maxWords = 300

// cause is the operating system's or a library's own sentence, for the end of
// one of ours.
func cause(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // our sentence names the path
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func pair(p *phrase.Printer, class, code string, key phrase.Key, args ...phrase.Args) Complaint {
	c := Complaint{Class: class, Error: code, What: p.Text(key+".what", args...)}
	if p.Has(key + ".hint") {
		c.Hint = p.Text(key+".hint", args...)
	}
	return c
}

func (a About) args(more phrase.Args) phrase.Args {
	out := phrase.Args{
		"Account": a.Name, "Host": a.Host, "Port": strconv.Itoa(a.Port), "User": a.User,
		"Protocol": Protocol(a.Protocol), "Wanted": usualPort(a.Protocol),
	}
	maps.Copy(out, more)
	return out
}

// Protocol writes "imap" and "pop3" as people read them.
func Protocol(s string) string {
	switch s {
	case "imap":
		return "IMAP"
	case "pop3":
		return "POP"
	}
	return s
}

func usualPort(protocol string) string {
	if protocol == "pop3" {
		return "995"
	}
	return "993"
}

// named turns the arguments of a config or secret error into those of a
// sentence: numbers in them are names (ports, lines), types have words.
func named(p *phrase.Printer, args map[string]any) phrase.Args {
	out := phrase.Args{}
	for k, v := range args {
		if n, ok := v.(int); ok {
			v = strconv.Itoa(n)
		}
		if s, ok := v.(string); ok && (k == "want" || k == "have") {
			if key := phrase.Key("type." + s); p.Has(key) {
				v = p.Text(key)
			}
		}
		out[k] = v
	}
	return out
}

func explainConfig(p *phrase.Printer, e *config.Error) Complaint {
	args := named(p, e.Args)
	args["Cause"] = cause(e.Err)
	c := pair(p, ClassConfig, e.Code, phrase.Key("config."+e.Code), args)
	if e.File != "" && e.Line > 0 {
		c.Place = e.File + ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(max(e.Column, 1))
	}
	c.Excerpt, c.Column = safe.Text(e.Excerpt, maxWords), e.Column
	if c.Excerpt == "" || c.Column > maxWords {
		c.Column = 0
	}
	return c
}

// maxNames bounds how many names of a certificate are shown.
const maxNames = 5

func explainSession(p *phrase.Printer, e *session.Error, about About) Complaint {
	args := about.args(phrase.Args{"Cause": cause(e.Err)})
	var (
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	if errors.As(e.Err, &host) && host.Certificate != nil {
		args["Names"] = certificateNames(host.Certificate)
	}
	if errors.As(e.Err, &invalid) && invalid.Cert != nil {
		args["From"], args["Until"] = p.Moment(invalid.Cert.NotBefore), p.Moment(invalid.Cert.NotAfter)
	}
	args["Now"] = p.Moment(time.Now())

	c := pair(p, string(e.Class), e.Reason, sessionKey(p, string(e.Class), e.Reason), args)
	c.Server = safe.Text(strings.TrimSpace(e.Server), maxWords)
	return c
}

// sessionKey is the sentence pair for a failure of a session. "refused" alone is
// a connection: some reasons mean another thing in another class.
func sessionKey(p *phrase.Printer, class, reason string) phrase.Key {
	for _, k := range []phrase.Key{phrase.Key("session." + class + "-" + reason), phrase.Key("session." + reason)} {
		if p.Has(k + ".what") {
			return k
		}
	}
	return phrase.Key("class." + class)
}

func certificateNames(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && c.Subject.CommonName != "" {
		names = []string{c.Subject.CommonName}
	}
	if len(names) > maxNames {
		names = append(names[:maxNames:maxNames], "…")
	}
	return strings.Join(names, ", ")
}
