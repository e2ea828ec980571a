// Package report says what a run did: as text for a person, as one JSON object
// for a program, as an exit code for a script, and as the status file that the
// next look at the archive reads.
//
// A Run is built once from the ledgers and errors of a run; every rendering is
// made from it, so that text, JSON and exit code cannot contradict each other.
// An account's verdict is complete only if nothing is missing: a run that was
// cut short, or that left out something the user did not choose to leave out,
// never is. What an account holds is always counted as
// server = held + missing + left_out.
//
// Identifiers (class, error, reason, verdict, scope) are English and stable in
// every language; sentences come from package phrase. Whatever a server or a
// message wrote is made safe before it is shown.
//
// The package opens nothing, asks nobody and decides nothing about mail.
package report
