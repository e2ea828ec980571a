//go:build integration

package integration

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-maildir"
	"github.com/emersion/go-mbox"
)

// variants are the four ways from a server to a disk.
var variants = []struct{ protocol, format string }{
	{"imap", "maildir"}, {"imap", "mbox"}, {"pop3", "maildir"}, {"pop3", "mbox"},
}

// TestPull is the main job: everything is held, octet for octet, readable by
// others, and a second run does nothing.
func TestPull(t *testing.T) {
	n := count(2000, 20_000)
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("imap"), mailOptions{n: n, seed: 1, mailboxes: nested, oddities: true})
	fill(t, d.maildir("pop3"), mailOptions{n: n, seed: 2, oddities: true})
	for _, v := range variants {
		t.Run(v.protocol+"-"+v.format, func(t *testing.T) {
			want := readServer(t, d, v.protocol, v.protocol)
			if got, _ := total(want); got != n {
				t.Fatalf("the server serves %d messages, want %d", got, n)
			}
			p := startProxy(t, d.address(v.protocol))
			c := newClient(t, v.format, account{protocol: v.protocol, port: p.port, user: v.protocol})

			r := c.pull(n)
			if stored := different(want); r.Messages.New+r.Messages.Duplicate != n || r.Messages.New < stored {
				t.Errorf("new %d, duplicate %d; %d messages, %d of them different", r.Messages.New, r.Messages.Duplicate, n, stored)
			}
			if peak := c.runs[0].peak; peak > memoryLimit {
				t.Errorf("%d MB of memory, at most %d are allowed", peak>>20, memoryLimit>>20)
			}
			demandExact(t, c, want)
			demandIndependent(t, c, want)
			c.run(0, "verify", "--json").report(t)
			demandNoopRun(t, c, p, n)
			demandExact(t, c, want)
			demandQuietTranscript(t, c, n)
			c.run(0, "status")
			// No message of the server was touched.
			if again := readServer(t, d, v.protocol, v.protocol); different(again) != different(want) {
				t.Error("the server serves other messages than before")
			}
		})
	}
}

// demandNoopRun demands that a run finds nothing new and downloads no body:
// what the server sends stays far below the size of the mail.
func demandNoopRun(t *testing.T, c *client, p *proxy, n int) {
	t.Helper()
	before := p.fromServer.Load()
	c.nothingNew(n)
	sent := p.fromServer.Load() - before
	if limit := int64(64<<10 + 120*n); sent > limit {
		t.Fatalf("the server sent %d octets in a run with nothing new, at most %d are allowed", sent, limit)
	}
}

var bodyCommand = regexp.MustCompile(`(?i)\bRETR\b|BODY(\.PEEK)?\[\]|\bDELE\b|\bSELECT\b|\bSTORE\b|\bEXPUNGE\b`)

// demandQuietTranscript demands that a run with nothing new asks for no body
// and changes nothing, and that its transcript has no password in it.
func demandQuietTranscript(t *testing.T, c *client, n int) {
	t.Helper()
	trace := filepath.Join(c.dir, "trace.txt")
	c.run(0, "pull", "--json", "--trace", trace)
	octets, err := os.ReadFile(trace)
	must(t, err)
	if len(octets) == 0 {
		t.Fatal("the transcript is empty")
	}
	for line := range bytes.Lines(octets) {
		if bytes.Contains(line, []byte("CAPABILITY")) {
			continue
		}
		if found := bodyCommand.Find(line); found != nil {
			t.Errorf("a run with nothing new says %q: %s", found, line)
		}
	}
	if info, err := os.Stat(trace); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the transcript has mode %v, want 0600 (%v)", info.Mode(), err)
	}
}

//go:embed testdata/count.py
var countScript string

// demandIndependent demands that readers others wrote find the same messages:
// Python's mailbox module with equal canonical forms, go-maildir and go-mbox
// with equal counts.
func demandIndependent(t *testing.T, c *client, want map[string][]served) {
	t.Helper()
	root := filepath.Join(c.archive, c.account)
	for name, messages := range want {
		seen := map[digest]bool{}
		var digests []string
		for _, s := range messages {
			if !seen[s.raw] {
				seen[s.raw] = true
				digests = append(digests, hex.EncodeToString(s.canonical[:]))
			}
		}
		if len(digests) == 0 {
			continue
		}
		path := filepath.Join(root, filepath.FromSlash(name))
		if c.format == "mbox" {
			path += ".mbox"
		}
		script := exec.Command("python3", "-c", countScript, c.format, path)
		var stderr bytes.Buffer
		script.Stderr = &stderr
		out, err := script.Output()
		if err != nil {
			t.Fatalf("Python cannot read %s: %v\n%s", path, err, stderr.Bytes())
		}
		got := strings.Fields(string(out))
		slices.Sort(got)
		slices.Sort(digests)
		if !slices.Equal(got, digests) {
			t.Errorf("%q: Python's mailbox finds %d messages, %d are held, or they differ", name, len(got), len(digests))
		}
		read := readMaildir
		if c.format == "mbox" {
			read = readMbox
		}
		if n, err := read(path); err != nil || n != len(digests) {
			t.Errorf("%q: the %s library finds %d messages, want %d (%v)", name, c.format, n, len(digests), err)
		}
	}
}

func readMaildir(path string) (int, error) {
	n := 0
	err := maildir.Dir(path).Walk(func(m *maildir.Message) error {
		f, err := m.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		n++
		_, err = io.Copy(sha256.New(), f)
		return err
	})
	return n, err
}

func readMbox(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := mbox.NewReader(f)
	for n := 0; ; n++ {
		m, err := r.NextMessage()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("message %d: %w", n+1, err)
		}
		if _, err := io.Copy(sha256.New(), m); err != nil {
			return n, fmt.Errorf("message %d: %w", n+1, err)
		}
	}
}

// TestTwoAccounts pulls both protocols of one server side by side into one
// archive, each complete by itself.
func TestTwoAccounts(t *testing.T) {
	const n = 300
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("taro"), mailOptions{n: n, seed: 3, oddities: true})
	for _, format := range []string{"maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			c := newClient(t, format, account{name: "phone", port: d.imap}, account{name: "office", protocol: "pop3", port: d.pop3})
			c.pull(2 * n)
			c.nothingNew(2 * n)
			for name, protocol := range map[string]string{"phone": "imap", "office": "pop3"} {
				c.account = name
				demandExact(t, c, readServer(t, d, protocol, "taro"))
			}
			c.run(0, "verify", "--json")
			if r := c.run(0, "pull", "--json", "office").report(t); r.Messages.Server != n {
				t.Errorf("a pull of one account lists %d messages, want %d", r.Messages.Server, n)
			}
		})
	}
}

// TestFlagsAndNewMail adds mail and changes flags between runs.
func TestFlagsAndNewMail(t *testing.T) {
	const n, more = 200, 30
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("taro"), mailOptions{n: n, seed: 4, mailboxes: nested})
	c := newClient(t, "maildir", account{port: d.imap})
	c.pull(n)
	fill(t, d.maildir("taro"), mailOptions{n: more, seed: 4, first: n, mailboxes: nested})
	if r := c.pull(n + more); r.Messages.New+r.Messages.Duplicate != more {
		t.Fatalf("%d new and %d duplicate messages, want %d together", r.Messages.New, r.Messages.Duplicate, more)
	}
	d.doveadm(t, "flags", "add", "-u", "taro", `\Flagged \Seen`, "mailbox", "INBOX", "1:*")
	d.doveadm(t, "flags", "remove", "-u", "taro", `\Answered`, "mailbox", "INBOX", "1:*")
	c.nothingNew(n + more)
	for _, s := range readArchive(t, c)["INBOX"] {
		_, letters, _ := strings.Cut(filepath.Base(s.path), "2,")
		if !strings.Contains(letters, "F") || !strings.Contains(letters, "S") || strings.Contains(letters, "R") {
			t.Fatalf("flags not taken over: %s", s.path)
		}
	}
	demandExact(t, c, readServer(t, d, "imap", "taro"))
	// What the server no longer has stays in the archive.
	d.doveadm(t, "expunge", "-u", "taro", "mailbox", "Sent", "all")
	sent := len(readArchive(t, c)["Sent"])
	left, _ := total(readServer(t, d, "imap", "taro"))
	c.nothingNew(left)
	if got := len(readArchive(t, c)["Sent"]); got != sent || sent == 0 {
		t.Fatalf("%d messages in Sent after the server lost them, %d before", got, sent)
	}
	c.run(0, "verify", "--json")
}
