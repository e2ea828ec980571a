// Package session opens authenticated POP3 and IMAP sessions, and keeps the
// guard under them.
package session

import (
	"context"
	"crypto/x509"
	"io"
	"time"
)

// Security is how the octets of a session are protected.
type Security string

const (
	TLS       Security = "tls"       // implicit TLS (RFC 8314)
	STARTTLS  Security = "starttls"  // STARTTLS (RFC 3501 §6.2.1) or STLS (RFC 2595 §4), without fallback
	Cleartext Security = "cleartext" // no protection; the caller decides whether that is allowed
)

// A Secret is what proves who the user is: a password or an access token.
type Secret struct {
	Password string
	Token    string // OAuth 2.0 access token; used with XOAUTH2 or OAUTHBEARER when not empty
}

// Server says where and as whom to log in.
type Server struct {
	Host     string
	Port     int
	Security Security
	User     string

	// Secret is asked once for each login, just before it is needed and never
	// before the server's greeting was good.
	Secret func(ctx context.Context) (Secret, error)

	RootCAs     *x509.CertPool // nil: the system's
	DialTimeout time.Duration  // 0: 30 s, for connect and TLS handshake each
	IdleTimeout time.Duration  // 0: 120 s without an octet while an answer is owed

	Trace      *Trace    // nil: nobody watches
	Transcript io.Writer // nil: none; secrets are masked before they are written
}

// A Class is the kind of a failure: a stable English identifier for reports.
type Class string

const (
	ClassNetwork  Class = "network"  // the line: refused, reset, silent, cut
	ClassName     Class = "name"     // the host name does not resolve
	ClassTLS      Class = "tls"      // certificate or handshake
	ClassAuth     Class = "auth"     // the server refused the login
	ClassPolicy   Class = "policy"   // a rule of ours or theirs forbids it (cleartext, LOGINDISABLED)
	ClassBusy     Class = "busy"     // temporary: in use, login delay, throttled
	ClassMissing  Class = "missing"  // what was asked for is not there
	ClassRefused  Class = "refused"  // the server said no, with words of its own
	ClassQuota    Class = "quota"    // over quota
	ClassProtocol Class = "protocol" // the peer does not speak the protocol, or breaks it
	ClassLocal    Class = "local"    // this computer: disk, memory, permission
)

// A Reach says how much of a run one error spoils.
type Reach int

const (
	ReachMessage Reach = iota // this message; go on with the next
	ReachMailbox              // this mailbox; go on with the next
	ReachAccount              // this account; the others go on
	ReachRun                  // everything stops
)

// An Error is a failure of a session, with how far it reaches and whether
// trying again can help.
type Error struct {
	Class     Class
	Reach     Reach
	Temporary bool   // the same attempt may succeed later
	Reason    string // stable English identifier of the cause, e.g. "greeting-pop3-on-imap", "literal-short"
	Server    string // the server's own words, unsanitised; "" if it said nothing
	Err       error  // the cause, may be nil
}

func (e *Error) Error() string {
	s := string(e.Class) + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
