//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// TestKill kills the program at random moments of a pull. The next run must
// end with everything held once, and nothing torn may ever be visible.
func TestKill(t *testing.T) {
	const n = 2000
	trials := count(20, 100)
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("imap"), mailOptions{n: n, seed: 8, median: 1200, mailboxes: nested, oddities: true})
	fill(t, d.maildir("pop3"), mailOptions{n: n, seed: 9, median: 1200, oddities: true})
	want := map[string]map[string][]served{}
	whole := map[string]time.Duration{}
	octets := map[string]int64{}
	for _, protocol := range []string{"imap", "pop3"} {
		want[protocol] = readServer(t, d, protocol, protocol)
		_, octets[protocol] = total(want[protocol])
		p := startProxy(t, d.address(protocol))
		p.rate.Store(octets[protocol])
		c := newClient(t, "maildir", account{protocol: protocol, port: p.port, user: protocol})
		c.pull(n)
		whole[protocol] = c.runs[0].took
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for i := range trials {
		v := variants[i%len(variants)]
		ok := t.Run(fmt.Sprintf("%03d-%s-%s", i, v.protocol, v.format), func(t *testing.T) {
			p := startProxy(t, d.address(v.protocol))
			c := newClient(t, v.format, account{protocol: v.protocol, port: p.port, user: v.protocol})
			// Now and then the run after a kill is killed as well.
			for range 1 + r.IntN(2) {
				p.rate.Store(octets[v.protocol])
				run := c.start("pull", "--json")
				if r.IntN(3) == 0 {
					// By time, so that also the start and the end are hit.
					moment := time.Duration(r.Int64N(int64(whole[v.protocol] * 11 / 10)))
					time.AfterFunc(moment, func() { run.signal(syscall.SIGKILL) })
				} else {
					p.at(r.Int64N(octets[v.protocol]), func() { run.signal(syscall.SIGKILL) })
				}
				if o := run.wait(); o.code == -1 {
					killed++
				} else {
					o.demand(t, 0)
				}
				p.clear()
				demandCrashSafe(t, c, want[v.protocol])
			}
			c.pull(n)
			demandExact(t, c, want[v.protocol])
			c.run(0, "verify", "--json")
		})
		if !ok {
			t.FailNow()
		}
	}
	t.Logf("%d trials, %d runs killed", trials, killed)
	if killed < trials/2 {
		t.Errorf("only %d runs were killed before their end in %d trials", killed, trials)
	}
}

// TestCutConnections cuts the line at random places. The program goes on by
// itself or names what is missing; then a run on a sound line holds everything.
func TestCutConnections(t *testing.T) {
	const n = 600
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("imap"), mailOptions{n: n, seed: 10, mailboxes: nested, oddities: true})
	fill(t, d.maildir("pop3"), mailOptions{n: n, seed: 11, oddities: true})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := map[string]map[string][]served{"imap": readServer(t, d, "imap", "imap"), "pop3": readServer(t, d, "pop3", "pop3")}
	for i := range count(8, 60) {
		v := variants[i%len(variants)]
		t.Run(fmt.Sprintf("%02d-%s-%s", i, v.protocol, v.format), func(t *testing.T) {
			_, octets := total(want[v.protocol])
			p := startProxy(t, d.address(v.protocol))
			c := newClient(t, v.format, account{protocol: v.protocol, port: p.port, user: v.protocol})
			p.cut.Store(1 + r.Int64N(octets))
			o := c.start("pull", "--json").wait()
			if o.code != 0 && o.code != 1 {
				t.Fatalf("want exit code 0 or 1: %s", o)
			}
			report := o.report(t)
			if complete := report.Verdict == "complete"; complete != (o.code == 0) {
				t.Errorf("exit code %d, verdict %q", o.code, report.Verdict)
			}
			if torn := demandNothingTorn(t, c, want[v.protocol]); o.code == 0 && torn != different(want[v.protocol]) {
				t.Errorf("exit code 0, and %d of %d messages are on disk", torn, different(want[v.protocol]))
			}
			c.pull(n)
			demandExact(t, c, want[v.protocol])
			c.run(0, "verify", "--json")
		})
	}
}

// TestInterrupt stops a pull by Ctrl-C, from a server that answers and from one
// that has fallen silent: exit code 130 at once, and the next run goes on.
func TestInterrupt(t *testing.T) {
	const n = 600
	d := startDovecot(t, dovecotOptions{})
	fill(t, d.maildir("imap"), mailOptions{n: n, seed: 12, mailboxes: nested})
	fill(t, d.maildir("pop3"), mailOptions{n: n, seed: 13})
	for i, v := range variants {
		t.Run(v.protocol+"-"+v.format, func(t *testing.T) {
			want := readServer(t, d, v.protocol, v.protocol)
			_, octets := total(want)
			p := startProxy(t, d.address(v.protocol))
			c := newClient(t, v.format, account{protocol: v.protocol, port: p.port, user: v.protocol})
			if i%2 == 0 {
				p.stall.Store(octets / 2)
			}
			p.rate.Store(octets)
			run := c.start("pull", "--json")
			interrupted := make(chan time.Time, 1)
			p.at(octets*2/5, func() {
				time.Sleep(200 * time.Millisecond)
				interrupted <- time.Now()
				run.signal(syscall.SIGINT)
			})
			o := run.wait().demand(t, 130)
			if took := time.Since(<-interrupted); took > 10*time.Second {
				t.Errorf("ended %s after Ctrl-C", took)
			}
			if r := o.report(t); r.Verdict == "complete" {
				t.Errorf("interrupted, and yet complete: %s", o)
			}
			p.clear()
			demandNothingTorn(t, c, want)
			c.pull(n)
			demandExact(t, c, want)
		})
	}
}
