// Package integration holds the tests that run the real program against a real
// server: Dovecot, started by the tests themselves on free loopback ports with
// a configuration of its own. The program is a black box here: what counts is
// its command line, its exit codes, its --json reports and the files it leaves.
//
// The tests carry the build tag "integration" and need root, because Dovecot
// changes its user and because file systems are mounted, filled and cut off:
//
//	go test -tags integration ./cmd/fumibako/integration/
//
// The test process runs in a mount namespace of its own; nothing it mounts is
// visible outside or outlives it. FUMIBAKO_FULL=1 runs the full counts (20,000
// messages, 100 kills, 30 power cuts) in place of those meant for every commit.
// FUMIBAKO_NO_LOOP=1 leaves out what needs mounts, on machines that allow none.
//
// What is on disk is read by readers that share no code with the program: a few
// lines here, Python's mailbox module, go-maildir and go-mbox.
package integration
