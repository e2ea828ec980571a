//go:build integration

package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestIdentityShocks changes what a message is known by, on the server or
// here. No message may be stored a second time, none may be missing.
func TestIdentityShocks(t *testing.T) {
	const n = 400
	shocks := []struct {
		name     string
		protocol string
		offline  bool // the server is as before: not one body may be downloaded
		shock    func(t *testing.T, d *dovecot, c *client)
	}{
		{"uidvalidity", "imap", false, func(t *testing.T, d *dovecot, c *client) {
			for name := range readServer(t, d, "imap", "imap") {
				d.doveadm(t, "mailbox", "update", "-u", "imap", "--uid-validity", "1234567890", doveadmName(name))
			}
		}},
		{"unique-ids", "pop3", false, func(t *testing.T, d *dovecot, c *client) {
			o := d.options
			o.otherUIDL = !o.otherUIDL
			d.restart(t, o)
		}},
		{"index-deleted", "imap", true, func(t *testing.T, d *dovecot, c *client) {
			for _, path := range indexFiles(t, c) {
				must(t, os.Remove(path))
			}
		}},
		{"index-deleted", "pop3", true, func(t *testing.T, d *dovecot, c *client) {
			for _, path := range indexFiles(t, c) {
				must(t, os.Remove(path))
			}
		}},
		{"index-garbage", "imap", true, func(t *testing.T, d *dovecot, c *client) {
			for _, path := range indexFiles(t, c) {
				must(t, os.WriteFile(path, bytes.Repeat([]byte("garbage\n"), 8192), 0o600))
			}
		}},
		{"index-empty", "pop3", true, func(t *testing.T, d *dovecot, c *client) {
			for _, path := range indexFiles(t, c) {
				must(t, os.Truncate(path, 0))
			}
		}},
		{"index-cut", "imap", true, func(t *testing.T, d *dovecot, c *client) {
			for _, path := range indexFiles(t, c) {
				info, err := os.Stat(path)
				must(t, err)
				must(t, os.Truncate(path, info.Size()/2+100))
			}
		}},
		{"index-overwritten", "pop3", true, func(t *testing.T, d *dovecot, c *client) {
			for _, path := range indexFiles(t, c) {
				octets, err := os.ReadFile(path)
				must(t, err)
				for i := len(octets) / 3; i < len(octets)*2/3; i++ {
					octets[i] ^= 0x5a
				}
				must(t, os.WriteFile(path, octets, 0o600))
			}
		}},
	}
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("imap"), mailOptions{n: n, seed: 5, mailboxes: nested, oddities: true})
	fill(t, d.maildir("pop3"), mailOptions{n: n, seed: 6, oddities: true})
	for _, s := range shocks {
		for _, format := range []string{"maildir", "mbox"} {
			t.Run(fmt.Sprintf("%s-%s-%s", s.protocol, format, s.name), func(t *testing.T) {
				p := startProxy(t, d.address(s.protocol))
				c := newClient(t, format, account{protocol: s.protocol, port: p.port, user: s.protocol})
				c.pull(n)
				want := readServer(t, d, s.protocol, s.protocol)
				s.shock(t, d, c)
				if s.offline {
					demandNoopRun(t, c, p, n)
				} else {
					c.nothingNew(n)
				}
				demandExact(t, c, want)
				demandNoopRun(t, c, p, n)
				c.run(0, "verify", "--json")
			})
		}
	}
}

// indexFiles lists the files of the archive's index, of which there must be one
// at least: a test that damages nothing proves nothing.
func indexFiles(t *testing.T, c *client) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"index", "index.*"} {
		paths, err := filepath.Glob(filepath.Join(c.archive, ".fumibako", pattern))
		must(t, err)
		found = append(found, paths...)
	}
	if len(found) == 0 {
		t.Fatal("the archive has no index")
	}
	return found
}

// doveadmName is a mailbox name as doveadm takes it: UTF-8, with the server's
// delimiter.
func doveadmName(name string) string {
	return string(bytes.ReplaceAll([]byte(name), []byte("/"), []byte(".")))
}

// TestLostFile removes, cuts and changes files behind the program's back:
// verify names each, and the next pull fetches what is gone.
func TestLostFile(t *testing.T) {
	const n = 120
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("taro"), mailOptions{n: n, seed: 7})
	want := readServer(t, d, "imap", "taro")
	c := newClient(t, "maildir", account{port: d.imap})
	c.pull(n)
	files := readArchive(t, c)["INBOX"]
	must(t, os.Remove(files[3].path))
	if o := c.run(1, "verify", "--json"); !bytes.Contains(o.stdout.Bytes(), []byte(baseName(files[3].path))) {
		t.Errorf("verify does not name the lost file %s: %s", files[3].path, o)
	}
	if r := c.pull(n); r.Messages.New != 1 {
		t.Errorf("%d messages are new after one file was lost", r.Messages.New)
	}
	demandExact(t, c, want)

	octets, err := os.ReadFile(files[7].path)
	must(t, err)
	octets[len(octets)/2] ^= 1
	must(t, os.WriteFile(files[7].path, octets, 0o600))
	if o := c.run(1, "verify", "--json"); !bytes.Contains(o.stdout.Bytes(), []byte(baseName(files[7].path))) {
		t.Errorf("verify does not name the altered file %s: %s", files[7].path, o)
	}
}

// baseName is a Maildir file's name without its flags.
func baseName(path string) string {
	base, _, _ := strings.Cut(filepath.Base(path), ":2,")
	return base
}

// TestServerChangesMidRun changes the server while a pull reads it. The run
// ends by itself, whatever it found; the next one holds what the server has
// then, and nothing twice.
func TestServerChangesMidRun(t *testing.T) {
	const n, more = 500, 40
	changes := []struct {
		name     string
		protocol string
		change   func(t *testing.T, d *dovecot, user string)
	}{
		{"uidvalidity", "imap", func(t *testing.T, d *dovecot, user string) {
			for _, name := range nested {
				d.doveadm(t, "mailbox", "update", "-u", user, "--uid-validity", "1234567890", doveadmName(name))
			}
		}},
		{"expunged", "imap", func(t *testing.T, d *dovecot, user string) {
			for _, name := range nested {
				d.doveadm(t, "expunge", "-u", user, "mailbox", doveadmName(name), "5:30")
			}
		}},
		{"expunged", "pop3", func(t *testing.T, d *dovecot, user string) {
			d.doveadm(t, "expunge", "-u", user, "mailbox", "INBOX", "50:400")
		}},
		{"removed", "imap", func(t *testing.T, d *dovecot, user string) {
			d.doveadm(t, "mailbox", "delete", "-u", user, doveadmName("仕事/見積/二〇一九"))
		}},
		{"new mail", "imap", func(t *testing.T, d *dovecot, user string) {
			fill(t, d.maildir(user), mailOptions{n: more, seed: 14, first: n, mailboxes: nested})
		}},
		{"new mail", "pop3", func(t *testing.T, d *dovecot, user string) {
			fill(t, d.maildir(user), mailOptions{n: more, seed: 14, first: n})
		}},
	}
	d := startDovecot(t, dovecotOptions{})
	for i, k := range changes {
		format := variants[i%2].format
		t.Run(fmt.Sprintf("%s-%s-%s", k.protocol, format, k.name), func(t *testing.T) {
			user := fmt.Sprintf("mid%d", i)
			mailboxes := nested
			if k.protocol == "pop3" {
				mailboxes = nil
			}
			fill(t, d.maildir(user), mailOptions{n: n, seed: 14, mailboxes: mailboxes})
			before := readServer(t, d, k.protocol, user)
			_, octets := total(before)
			p := startProxy(t, d.address(k.protocol))
			c := newClient(t, format, account{protocol: k.protocol, port: p.port, user: user})
			p.rate.Store(octets)
			changed := make(chan struct{})
			p.at(octets/4, func() {
				defer close(changed)
				k.change(t, d, user)
			})
			o := c.start("pull", "--json").wait()
			select {
			case <-changed:
			case <-time.After(30 * time.Second):
				t.Fatalf("the change did not come about: %s", o)
			}
			if o.code != 0 && o.code != 1 {
				t.Fatalf("want exit code 0 or 1: %s", o)
			}
			o.report(t)
			p.clear()
			after := readServer(t, d, k.protocol, user)
			left, _ := total(after)
			c.pull(left)
			demandReported(t, c, after)
			known := map[string][]served{}
			for name := range before {
				known[name] = append(known[name], before[name]...)
			}
			for name := range after {
				known[name] = append(known[name], after[name]...)
			}
			demandNothingTorn(t, c, known)
			demandNothingTwice(t, c)
			c.nothingNew(left)
			c.run(0, "verify", "--json")
		})
	}
}
