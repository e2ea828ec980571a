package fetch

import "time"

// A Ledger says what one Pull found and kept. It is complete whether or not
// Pull ended early: what was not reached counts as missing.
type Ledger struct {
	Account   string
	Facts     Facts
	Mailboxes []MailboxLedger
	Err       error     // what ended the account early: *session.Error, *archive.Error or a context's error; nil if nothing did
	Oldest    time.Time // date of the oldest held message the server lists; zero if it is not known
	Newest    time.Time // and of the newest
	ListedAll bool      // every mailbox that was not left out has been listed
}

// A MailboxLedger is the account of one mailbox.
// Server = Held + len(Missing) + Unlisted + LeftOut, always.
type MailboxLedger struct {
	Name       string
	SpecialUse string
	Server     int  // messages the server lists now
	Held       int  // of these, recorded and their files seen in this run with the recorded size
	New        int  // stored by this run
	Duplicate  int  // found to be held already after they were fetched (or by identity named by the server): not stored again
	Rebound    int  // bound again to a held message without downloading it: held, not compared
	LeftOut    int  // by the user's choice
	Excluded   bool // the whole mailbox was left out by choice
	NewOctets  int64
	CopyOctets int64 // of NewOctets: also held in another mailbox, stored again because a link was not possible
	Unchanged  bool  // recognised as unchanged without listing
	Flags      int   // messages whose flags were taken over
	Missing    []Named
	Unlisted   int     // missing too, beyond those in Missing: the server counts them, and they were not listed. 0 but with an enormous count
	Gone       []Named // listed at first, gone at a second look: not counted in Server
	Err        error   // what ended this mailbox early; nil if nothing did
}

// Named is a message that is not held, named so that a person can find it.
type Named struct {
	UID     string
	Octets  int64 // -1 if the server did not say
	Date    time.Time
	From    string // raw header octets, neither decoded nor made safe
	Subject string
	Reason  string // stable English identifier
	Server  string // the server's own words, not made safe
}

// A Plan says what a Pull is about to fetch.
type Plan struct {
	Mailboxes int   // that can be opened and are not left out
	Messages  int   // to be fetched
	Octets    int64 // as far as the server says
	Server    int   // messages the server lists in all
	Facts     Facts
}

// Observer is a set of functions Pull calls while it works, each of which may
// be nil. They are called from Pull's goroutine and must be quick.
type Observer struct {
	Listing func(mailbox string, n, of int) // the n-th of all mailboxes that are not left out is being listed
	Planned func(Plan)
	Octets  func(n int) // more octets of message bodies arrived
	Message func()      // one more message of the plan is dealt with
}

// Options of a Pull.
type Options struct {
	Exclude  func(Mailbox) bool // nil: nothing is left out
	Rebind   bool               // bind unknown messages to held ones by size and header where that is proof, without downloading
	Observer Observer
}
