//go:build integration

package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The tests here prove the bench: a bench that breaks nothing proves nothing.

// TestBenchServer reads generated mail by both protocols: all of it is there,
// and each message has one canonical form.
func TestBenchServer(t *testing.T) {
	const n = 640
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("taro"), mailOptions{n: n, seed: 90, oddities: true})
	imap, pop3 := readServer(t, d, "imap", "taro")["INBOX"], readServer(t, d, "pop3", "taro")["INBOX"]
	if len(imap) != n || len(pop3) != n {
		t.Fatalf("%d messages by IMAP, %d by POP3, want %d", len(imap), len(pop3), n)
	}
	forms := func(all []served, of func(served) digest) []string {
		var out []string
		for _, s := range all {
			d := of(s)
			out = append(out, string(d[:]))
		}
		slices.Sort(out)
		return out
	}
	canonicalForm := func(s served) digest { return s.canonical }
	if !slices.Equal(forms(imap, canonicalForm), forms(pop3, canonicalForm)) {
		t.Error("the canonical forms by IMAP and by POP3 differ")
	}
	raw := func(s served) digest { return s.raw }
	if slices.Equal(forms(imap, raw), forms(pop3, raw)) {
		t.Error("no message differs between IMAP and POP3: the generator is too tame")
	}
	if different := len(slices.Compact(forms(imap, raw))); different == n || different < n*9/10 {
		t.Errorf("%d of %d messages are different", different, n)
	}
	d.doveadm(t, "mailbox", "update", "-u", "taro", "--uid-validity", "1234567890", "INBOX")
	if out := d.doveadm(t, "mailbox", "status", "-u", "taro", "uidvalidity", "INBOX"); !bytes.Contains([]byte(out), []byte("1234567890")) {
		t.Errorf("UIDVALIDITY after the change: %s", out)
	}
}

// TestBenchNames reads nested and non-ASCII mailbox names back.
func TestBenchNames(t *testing.T) {
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("taro"), mailOptions{n: 5 * len(nested), seed: 91, mailboxes: nested})
	got := readServer(t, d, "imap", "taro")
	for _, name := range nested {
		if len(got[name]) != 5 {
			t.Errorf("%q has %d messages, want 5", name, len(got[name]))
		}
		if back := decodeUTF7(encodeUTF7(name)); back != name {
			t.Errorf("%q became %q", name, back)
		}
	}
}

// TestBenchPower demands that a cut loses what was not made durable and keeps
// what was.
func TestBenchPower(t *testing.T) {
	if !needMounts(t) {
		return
	}
	power := newDisk(t, 32<<20)
	durable, lost := filepath.Join(power.mount, "durable"), filepath.Join(power.mount, "lost")
	f, err := os.Create(durable)
	must(t, err)
	_, err = f.WriteString("durable")
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	parent, err := os.Open(power.mount)
	must(t, err)
	must(t, parent.Sync())
	must(t, parent.Close())
	must(t, os.WriteFile(lost, []byte("lost"), 0o600))
	power.cut()
	power.again()
	if octets, err := os.ReadFile(durable); err != nil || string(octets) != "durable" {
		t.Errorf("what was durable reads %q: %v", octets, err)
	}
	if _, err := os.Stat(lost); !os.IsNotExist(err) {
		t.Errorf("what was never synced is there after the cut: %v", err)
	}
}

// TestBenchMbox splits an mbox by the reader of these tests.
func TestBenchMbox(t *testing.T) {
	for _, k := range []struct {
		name, mbox string
		want       []entry
	}{
		{"two", "From a\nS: 1\n\nx\n\nFrom b\nS: 2\n\n>From y\n>>From z\n\n",
			[]entry{{[]byte("S: 1\n\nx\n"), false}, {[]byte("S: 2\n\nFrom y\n>From z\n"), false}}},
		{"torn end", "From a\nS: 1\n\nx\n\nFrom b\nS:", []entry{{[]byte("S: 1\n\nx\n"), false}, {[]byte("S:"), true}}},
		{"torn beginning", "x\n\nFrom b\nS: 2\n\n\n", []entry{{[]byte("x\n"), true}, {[]byte("S: 2\n\n"), false}}},
		{"empty message", "From a\n\n", []entry{{[]byte(""), false}}},
		{"nothing", "", nil},
	} {
		got := mboxEntries([]byte(k.mbox))
		if !slices.EqualFunc(got, k.want, func(a, b entry) bool { return bytes.Equal(a.octets, b.octets) && a.torn == b.torn }) {
			t.Errorf("%s: %+v, want %+v", k.name, got, k.want)
		}
	}
}
