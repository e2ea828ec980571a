//go:build integration

package integration

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stored is one message on disk, its octets restored to what was received.
// An mbox needs a final line end; short is the digest without it.
type stored struct {
	path       string
	raw, short digest
	torn       bool // an mbox entry without the lines that begin and end one
}

// readArchive reads every message an archive shows to a mail reader, by path
// of the mailbox below the account. What lies in tmp or .fumibako is invisible.
func readArchive(t *testing.T, c *client) map[string][]stored {
	t.Helper()
	root := filepath.Join(c.archive, c.account)
	all := map[string][]stored{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case e.IsDir() && e.Name() == "cur":
			name = strings.TrimSuffix(name, "/cur")
			if all[name] == nil {
				all[name] = []stored{}
			}
		case e.IsDir():
		case filepath.Base(filepath.Dir(path)) == "cur", filepath.Base(filepath.Dir(path)) == "new":
			octets, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			mailbox := filepath.ToSlash(filepath.Dir(filepath.Dir(name)))
			all[mailbox] = append(all[mailbox], newStored(path, octets))
		case strings.HasSuffix(name, ".mbox"):
			octets, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			mailbox := strings.TrimSuffix(name, ".mbox")
			all[mailbox] = []stored{}
			for _, e := range mboxEntries(octets) {
				message := newStored(path, e.octets)
				message.torn = e.torn
				all[mailbox] = append(all[mailbox], message)
			}
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// newStored restores octets: a file without any CR had CRLF line ends.
func newStored(path string, octets []byte) stored {
	end := []byte("\n")
	if !bytes.Contains(octets, []byte("\r")) {
		end = []byte("\r\n")
		octets = bytes.ReplaceAll(octets, []byte("\n"), end)
	}
	return stored{path: path, raw: sha256.Sum256(octets), short: sha256.Sum256(bytes.TrimSuffix(octets, end))}
}

// An entry is one message of an mbox, its quoting taken off.
type entry struct {
	octets []byte
	torn   bool
}

// mboxEntries splits an mboxrd file. In an mboxrd a line that begins "From "
// always begins an entry.
func mboxEntries(file []byte) []entry {
	var entries []entry
	var e *entry
	end := func() {
		if e == nil {
			return
		}
		if !bytes.HasSuffix(e.octets, []byte("\n\n")) && string(e.octets) != "\n" {
			e.torn = true
		}
		e.octets = bytes.TrimSuffix(e.octets, []byte("\n"))
		entries = append(entries, *e)
	}
	for line := range bytes.Lines(file) {
		if bytes.HasPrefix(line, []byte("From ")) {
			end()
			e = &entry{}
			continue
		}
		if e == nil {
			e = &entry{torn: true}
		}
		if unquoted := bytes.TrimLeft(line, ">"); len(unquoted) < len(line) && bytes.HasPrefix(unquoted, []byte("From ")) {
			line = line[1:]
		}
		e.octets = append(e.octets, line...)
	}
	end()
	return entries
}

// demandExact demands that the archive holds what the server serves, octet for
// octet: each different message of a mailbox once, and nothing else.
func demandExact(t *testing.T, c *client, want map[string][]served) {
	t.Helper()
	held := readArchive(t, c)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if len(want[name]) == 0 {
			continue
		}
		path := name
		if _, found := held[path]; !found {
			t.Errorf("mailbox %q is not in the archive, which has %q", name, slices.Sorted(maps.Keys(held)))
			continue
		}
		demandSame(t, name, want[name], held[path])
		delete(held, path)
	}
	for name, messages := range held {
		if len(messages) > 0 {
			t.Errorf("the archive has a mailbox %q with %d messages that the server has not", name, len(messages))
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func demandSame(t *testing.T, name string, want []served, held []stored) {
	t.Helper()
	missing := map[digest]bool{}
	for _, s := range want {
		missing[s.raw] = true
	}
	different := len(missing)
	twice, foreign := 0, 0
	seen := map[digest]bool{}
	for _, s := range held {
		if s.torn {
			t.Errorf("mailbox %q: an entry does not begin or end as one: %s", name, s.path)
		}
		d := s.raw
		if !missing[d] && !seen[d] && (missing[s.short] || seen[s.short]) {
			d = s.short
		}
		switch {
		case missing[d]:
			delete(missing, d)
			seen[d] = true
		case seen[d]:
			twice++
			t.Logf("held twice: %s", s.path)
		default:
			foreign++
			t.Logf("not what the server serves: %s", s.path)
		}
	}
	if len(missing) > 0 || twice > 0 || foreign > 0 {
		t.Errorf("mailbox %q: of %d different messages %d are not on disk, %d are there twice, %d are none of the server's",
			name, different, len(missing), twice, foreign)
	}
}

// demandNothingTorn demands that every visible message is a whole one of the
// server's, however few there are, and returns their number.
func demandNothingTorn(t *testing.T, c *client, want map[string][]served) int {
	t.Helper()
	known := map[digest]bool{}
	for _, messages := range want {
		for _, s := range messages {
			known[s.raw] = true
		}
	}
	n := 0
	for name, messages := range readArchive(t, c) {
		for _, s := range messages {
			if s.torn || !known[s.raw] && !known[s.short] {
				t.Errorf("mailbox %q shows a message that is none of the server's: %s", name, s.path)
			}
			n++
		}
	}
	return n
}

// demandCrashSafe is demandNothingTorn for a program that had no time to end.
// A Maildir must show whole messages even then. An mbox may end in a piece of
// one until the next run takes that away, so there is nothing to demand of it.
func demandCrashSafe(t *testing.T, c *client, want map[string][]served) {
	t.Helper()
	if c.format == "maildir" {
		demandNothingTorn(t, c, want)
	}
}

// demandNothingTwice demands that no mailbox holds a message twice.
func demandNothingTwice(t *testing.T, c *client) {
	t.Helper()
	for name, messages := range readArchive(t, c) {
		seen := map[digest]bool{}
		for _, s := range messages {
			if seen[s.raw] {
				t.Errorf("mailbox %q holds a message twice: %s", name, s.path)
			}
			seen[s.raw] = true
		}
	}
}

// total is the number of messages in all mailboxes.
func total(all map[string][]served) (n int, octets int64) {
	for _, messages := range all {
		n += len(messages)
		for _, s := range messages {
			octets += int64(s.octets)
		}
	}
	return n, octets
}

// different is the number of messages that differ within their mailbox.
func different(all map[string][]served) int {
	n := 0
	for _, messages := range all {
		seen := map[digest]bool{}
		for _, s := range messages {
			seen[s.raw] = true
		}
		n += len(seen)
	}
	return n
}
