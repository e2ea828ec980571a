package dedupe

// Origin says where a message was found: one place on one server.
//
// Two messages with equal Origins and equal listed sizes are the same message.
// It is comparable and small; it is never built from message numbers, which
// mean something only inside one session.
type Origin struct {
	Account     string // the account's name in the configuration
	Epoch       uint32 // counts changes of the account's protocol, host or user
	Mailbox     string // the mailbox's true name; POP3: "INBOX"
	UIDValidity uint32 // IMAP; POP3: 0
	UID         string // IMAP: the UID in decimal; POP3: the unique-id (RFC 1939 §7)
	Ordinal     int    // tells apart equal unique-ids in one POP3 list: 0, 1, …
}

// Digest is a SHA-256 digest.
type Digest [32]byte

// Fingerprint says what a message is, wherever it was found.
type Fingerprint struct {
	Raw       Digest // of the octets as received; it proves a file
	Canonical Digest // each \r*\n as one CRLF, trailing line ends dropped, NUL as 0x80
	Content   Digest // canonical body and the header fields that travel with a letter; else Canonical
	Header    Digest // of the octets as received up to and including the first empty line
	Size      int64  // octets as received
}

// Head holds the header fields the ledger and the archive need, as raw
// unfolded octets (not decoded; possibly 8-bit, possibly malformed).
type Head struct {
	MessageID string // normalised by NormalizeMessageID; "" if there is none
	Date      string
	From      string
	To        string
	Cc        string
	Subject   string
	Received  string // the topmost Received field whose date can be read; else the topmost
}
