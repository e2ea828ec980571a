// Package fetchtest provides mail servers to test against, and the conformance
// suite of every fetch.Source.
//
// The servers run in process on loopback addresses. [IMAP] and [POP3] are well
// behaved and octet-true: whatever was added is sent as it is, NUL, bare CR,
// missing header and all, so that a test may compare every octet. Options make
// them poorer than the standards, as real servers are (no UIDL, no UIDPLUS,
// sizes that lie). A [Proxy] in front of any address spoils the line: it cuts,
// stalls, drips, delays and rewrites. A [Script] is a peer that plays a list of
// steps and nothing else, for greetings and answers that no server should give.
// [TestSource] holds a Source against the contract written at fetch.Source.
//
// Both servers keep a log of the commands they received, so that a test can
// prove what a client did not do: no SELECT, no STORE, no DELE.
//
// A server is set up by its fields, which must not change after Listen; its
// methods may be called at any time and from any goroutine.
//
// The servers are for tests and for the demonstration that never leaves this
// computer. They have no limits against a hostile client, keep every message
// in memory and store nothing.
package fetchtest
