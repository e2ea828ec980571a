// Package dedupe says what a message is, and which messages are known.
//
// A message is identified by what it consists of, never by its Message-ID
// alone. A [Hasher] reads a message once, as a stream of any length and in
// chunks of any size, and gives its [Fingerprint] and its [Head]:
//
//   - Raw proves a file: it changes if one octet changes.
//   - Canonical is equal for one stored message read by POP3 and by IMAP,
//     which differ in line ends, in the end of the message and in NUL.
//   - Content is equal for two copies of one letter that travelled by two
//     roads and so differ in Received, Delivered-To and X-… fields.
//   - Header is what a server can be asked for without the body.
//
// An [Origin] says where a message was found. The index connects the two; it
// is derived from the archive's files and journals and can be rebuilt from
// them at any time.
//
// Promises: equal octets give equal fingerprints however they are chunked;
// Content and Head depend on the canonical octets only, so equal Canonical
// means equal Content; every definition carries [Version]; memory is bounded
// whatever a message contains; no input makes the package fail or panic.
//
// The package decodes nothing: no MIME bodies, no encoded words, no character
// sets. It opens no mailbox, knows no protocol and decides nothing about which
// copy is kept; that is for the archive and for the places it is sent to.
package dedupe
