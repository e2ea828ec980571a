// Package archive keeps messages.
package archive

import (
	"context"
	"time"
)

// Format is how an archive keeps its mailboxes.
type Format string

const (
	Maildir Format = "maildir"
	Mbox    Format = "mbox" // mboxrd
)

// Options say how an archive is opened.
type Options struct {
	Format   Format // the configured format; "" takes the archive's own, or chooses for a new one (DESIGN §10)
	Create   bool   // begin an archive where there is none
	StateDir string // the user's state folder: remembers archives, and holds the index where the archive's file system cannot; "" for neither
	Command  string // what the lock tells others, e.g. "pull"
}

// Archive is an open archive; this process holds its lock.
type Archive struct{}

// Open opens the archive in the folder path. Errors are *Error.
func Open(path string, o Options) (*Archive, error) { panic("not yet") }

// Close writes what is pending and gives the lock back.
func (a *Archive) Close() error { panic("not yet") }

func (a *Archive) ID() string     { panic("not yet") }
func (a *Archive) Path() string   { panic("not yet") }
func (a *Archive) Format() Format { panic("not yet") }
func (a *Archive) Notes() []Note  { panic("not yet") }

// A Note is something Open or a commit found and dealt with that a person may want to know.
type Note struct {
	Code string // one of NoteCodes
	Path string
	N    int
}

// Account identifies an account as the archive remembers it.
type Account struct {
	Name, Protocol, Host, User string
	Port                       int
	Security                   string
}

// Accounts lists the accounts the archive knows, in the order they were first seen.
func (a *Archive) Accounts() []Account { panic("not yet") }

// SaveStatus replaces the archive's status file atomically.
func (a *Archive) SaveStatus(octets []byte) error { panic("not yet") }

// ReadStatus reads the status file of the archive at path without locking it.
func ReadStatus(path string) ([]byte, error) { panic("not yet") }

// A Place is where a message is held.
type Place struct {
	Account, Mailbox string
	Path             string    // of the file, relative to the archive
	Offset           int64     // mbox: where its entry begins
	Stored           time.Time // when this archive first held it
	Date             time.Time // INTERNALDATE, or the message's own date
	Present          bool      // the file is there with the recorded size
}

// FindMessageID looks a Message-ID up in the journals of the archive at path,
// without locking it.
func FindMessageID(path, messageID string) ([]Place, error) { panic("not yet") }

// VerifyOptions say how much Verify does.
type VerifyOptions struct {
	Accounts func(name string) bool  // nil: all
	Repair   bool                    // rebuild the index from files and journals, take files without a record into the journal
	Progress func(done, total int64) // octets; may be nil
}

// Verification is what Verify found.
type Verification struct {
	Mailboxes []MailboxVerification
	Rebuilt   bool // the index was built anew
}

// MailboxVerification is what Verify found in one mailbox.
type MailboxVerification struct {
	Account, Mailbox string
	Messages         int   // recorded
	Octets           int64 // stored octets read
	Sound            int   // read back and equal to their record
	NotCompared      int   // of Sound: bound to the server without their body having been compared
	Altered          []Finding
	Lost             []Finding
	Foreign          []Finding // files or entries that are no record's
	Adopted          int       // with Repair: foreign messages taken into the journal
}

// A Finding names one message or file.
type Finding struct {
	Path      string
	Offset    int64
	MessageID string
	Date      time.Time
	From      string // raw
	Subject   string // raw
}

// Verify re-reads every file and compares it with its record.
func (a *Archive) Verify(ctx context.Context, o VerifyOptions) (*Verification, error) {
	panic("not yet")
}
