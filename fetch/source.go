// Package fetch brings the messages of a Source into an archive.
package fetch

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/fumibako-mail/fumibako/fetch/session"
)

// A Source is one account that messages are read from. It never changes what
// it reads.
//
// A Source is used by one goroutine; Mailboxes is called first. Errors are
// *session.Error, or ctx.Err() when ctx ended.
type Source interface {
	// Mailboxes lists every mailbox, those that cannot be opened included, no two
	// of the same name.
	Mailboxes(ctx context.Context) ([]Mailbox, error)

	// List calls fn for each message the server lists in m now, in the server's
	// order and no two of the same UID, Ordinal and Num, and returns the mailbox's state as of the listing. No body is
	// downloaded. If fn returns an error, List stops and returns it.
	List(ctx context.Context, m Mailbox, fn func(Listed) error) (State, error)

	// Changes is List for a mailbox whose set of messages is known to be
	// unchanged: it calls fn for the messages whose flags may have changed since
	// the state last (CHANGEDSINCE where the server has CONDSTORE, otherwise
	// all). Only UID and Flags are set. A Source without flags calls fn never.
	Changes(ctx context.Context, m Mailbox, last State, fn func(Listed) error) (State, error)

	// Fetch calls fn once for each message of want that can be read, in any
	// order but never concurrently, with the octets as the server sent them. The
	// reader is valid only inside fn; if it fails, fn must return an error, and
	// the Source tries that message again or names it. Any other error of fn
	// ends Fetch and is returned as it is.
	//
	// Each message of want ends in exactly one of three ways: fn returned nil
	// for it; it is in the returned failures; or Fetch returned an error.
	//
	// state is what List returned. If the mailbox has another UIDVALIDITY by now,
	// or after a line broke, Fetch returns ErrChanged; fn is not called after it
	// was found out.
	Fetch(ctx context.Context, m Mailbox, state State, want []Listed, fn func(Listed, io.Reader) error) ([]Failure, error)

	// Heads calls fn with the header octets (up to and including the empty line)
	// of each message of want that has them. Messages that have none are left out.
	Heads(ctx context.Context, m Mailbox, state State, want []Listed, fn func(Listed, []byte) error) error

	// Facts tells what is known about the server after Mailboxes.
	Facts() Facts

	// Close ends the session: politely if all went well, without QUIT or
	// LOGOUT if an operation failed or was cancelled. It may be called twice.
	Close() error

	// Drop ends the session at once, without QUIT or LOGOUT: what was fetched
	// is not safe, and a server may remove after QUIT what was retrieved. Only
	// Close may follow.
	Drop()
}

// Facts are properties of a server that the ledger speaks of.
type Facts struct {
	Protocol      string // "imap" or "pop3"
	KeepsFlags    bool   // the source has flags and INTERNALDATE of its own
	NoUniqueID    bool   // POP3 without a usable UIDL
	ExpiresOnRetr bool   // POP3: CAPA says EXPIRE 0 (RFC 2449 §6.7): retrieved messages may be removed
	ExpireDays    int    // POP3: CAPA's EXPIRE in days; -1 if never or not said
	ServerText    string // a BYE, ALERT or notice worth showing, unsanitised
}

// A Mailbox is one mailbox as the server names it.
type Mailbox struct {
	Name       string // decoded to UTF-8; the octets themselves where they do not decode
	Delimiter  string // hierarchy delimiter; "" if there is none
	SpecialUse string // `\Sent` …; "" if none (RFC 6154)
	Selectable bool
	Status     *State // what LIST-STATUS or STATUS said; nil if it was not asked or did not answer
}

// State identifies the set of messages in a mailbox at one moment.
// POP3 sets Messages only.
type State struct {
	UIDValidity   uint32
	UIDNext       uint32 // 0: not said
	Messages      uint32
	HighestModSeq uint64 // 0: no CONDSTORE (RFC 7162)
}

// Listed is one message in a server's list.
type Listed struct {
	UID          string    // decimal UID, or POP3 unique-id; "" if the server has no unique-id for it
	Ordinal      int       // POP3: 0 for the first message with this unique-id in this list, then 1, …
	Num          uint32    // POP3 message number: valid in this session only, never stored
	Size         int64     // RFC822.SIZE or LIST: a hint; -1 if not said
	Flags        []string  // system flags and keywords as the server spells them, \Recent left out; shared, not to be changed
	InternalDate time.Time // with the server's zone; zero until Fetch if List does not know it
	SameAs       string    // X-GM-MSGID or EMAILID: equal for equal messages in this account; "" if not offered
}

// A Failure names one message that could not be fetched, and why.
type Failure struct {
	Listed Listed
	Gone   bool // the server no longer lists it: not missing, but named
	Err    *session.Error
}

// ErrChanged means that a mailbox got another UIDVALIDITY between List and
// Fetch: the plan made from that list is void.
var ErrChanged = errors.New("fetch: UIDVALIDITY changed since the mailbox was listed")
