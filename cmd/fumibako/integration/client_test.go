//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// runLimit is how long one run of the program may take.
const runLimit = 3 * time.Minute

// An account is one [[account]] of a configuration.
type account struct {
	name, protocol, host, security, user string // "" for: lab, imap, 127.0.0.1, cleartext, taro
	port                                 int
}

// A client is one person's set-up of the program: configuration, state folder
// and archive.
type client struct {
	t       *testing.T
	dir     string
	archive string
	format  string
	account string // name of the first account
	env     []string
	under   []string // a command that runs the program, such as strace; nil: none
	runs    []*outcome
}

// newClient writes a configuration for the accounts. Whatever the test's last
// runs printed is shown if the test fails.
func newClient(t *testing.T, format string, accounts ...account) *client {
	t.Helper()
	dir := tempDir(t)
	c := &client{t: t, dir: dir, archive: filepath.Join(dir, "archive"), format: format}
	c.env = append(os.Environ(), "HOME="+dir, "XDG_STATE_HOME="+filepath.Join(dir, "state"),
		"XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "FUMIBAKO_TEST_PASSWORD="+password)
	c.configure(accounts...)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for i := max(0, len(c.runs)-3); i < len(c.runs); i++ {
			t.Logf("run %d: %s", i+1, c.runs[i])
		}
	})
	return c
}

// configure writes the configuration anew.
func (c *client) configure(accounts ...account) {
	c.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "[archive]\npath = %q\nformat = %q\n", c.archive, c.format)
	for i, a := range accounts {
		name := or(a.name, "lab")
		if i == 0 {
			c.account = name
		}
		fmt.Fprintf(&b, "\n[[account]]\nname = %q\nprotocol = %q\nhost = %q\nport = %d\nsecurity = %q\nuser = %q\npassword_env = \"FUMIBAKO_TEST_PASSWORD\"\n",
			name, or(a.protocol, "imap"), or(a.host, "127.0.0.1"), a.port, or(a.security, "cleartext"), or(a.user, "taro"))
	}
	must(c.t, os.WriteFile(c.configFile(), []byte(b.String()), 0o600))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (c *client) configFile() string { return filepath.Join(c.dir, "fumibako.toml") }

// An outcome is what one run of the program did.
type outcome struct {
	args           []string
	code           int // -1 if a signal ended it
	stdout, stderr bytes.Buffer
	took           time.Duration
	peak           int64 // octets of memory the process held at most
	timedOut       bool
}

func (o *outcome) String() string {
	return fmt.Sprintf("fumibako %s: exit %d after %.2f s, at most %d MB of memory\nstdout:\n%s\nstderr:\n%s",
		strings.Join(o.args, " "), o.code, o.took.Seconds(), o.peak>>20, tail(o.stdout.Bytes(), 6000), tail(o.stderr.Bytes(), 6000))
}

// A running is a run of the program that has not ended yet.
type running struct {
	c       *client
	cmd     *exec.Cmd
	o       *outcome
	began   time.Time
	ended   chan struct{}
	stop    context.CancelFunc
	peak    atomic.Int64
	sampled chan struct{}
}

// start begins a run.
func (c *client) start(args ...string) *running {
	c.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), runLimit)
	all := append([]string{"--config", c.configFile(), "--lang", "en"}, args...)
	line := append(append(append([]string(nil), c.under...), program), all...)
	r := &running{c: c, o: &outcome{args: all}, cmd: exec.CommandContext(ctx, line[0], line[1:]...), began: time.Now(),
		ended: make(chan struct{}), stop: stop, sampled: make(chan struct{})}
	r.cmd.Env = c.env
	r.cmd.Stdout, r.cmd.Stderr = &r.o.stdout, &r.o.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(c.t, r.cmd.Start())
	c.runs = append(c.runs, r.o)
	go r.sample()
	go func() {
		r.cmd.Wait()
		r.o.timedOut = errors.Is(ctx.Err(), context.DeadlineExceeded)
		close(r.ended)
	}()
	return r
}

// sample watches the peak of the process's memory. The figure that wait4
// reports would not do: it starts at the peak of this test process.
func (r *running) sample() {
	defer close(r.sampled)
	path := fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid)
	for {
		octets, err := os.ReadFile(path)
		if err != nil {
			return
		}
		if _, rest, found := bytes.Cut(octets, []byte("VmHWM:")); found {
			var kB int64
			if _, err := fmt.Sscan(string(rest), &kB); err == nil && kB<<10 > r.peak.Load() {
				r.peak.Store(kB << 10)
			}
		}
		select {
		case <-r.ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// wait waits for the end of the run.
func (r *running) wait() *outcome {
	r.c.t.Helper()
	<-r.ended
	<-r.sampled
	r.stop()
	r.o.took = time.Since(r.began)
	r.o.code = r.cmd.ProcessState.ExitCode()
	r.o.peak = r.peak.Load()
	if r.o.timedOut {
		r.c.t.Fatalf("still not at an end after %s: %s", runLimit, r.o)
	}
	return r.o
}

func (r *running) signal(s syscall.Signal) { r.cmd.Process.Signal(s) }

// run runs the program to its end and demands the exit code.
func (c *client) run(code int, args ...string) *outcome {
	c.t.Helper()
	return c.start(args...).wait().demand(c.t, code)
}

func (o *outcome) demand(t *testing.T, code int) *outcome {
	t.Helper()
	if o.code != code {
		t.Fatalf("want exit code %d: %s", code, o)
	}
	return o
}

// pull pulls, demands exit code 0 and that all of n messages are held, and
// returns the report.
func (c *client) pull(n int) *report {
	c.t.Helper()
	o := c.run(0, "pull", "--json")
	r := o.report(c.t)
	if r.Verdict != "complete" || r.Messages.Server != n || r.Messages.Held != n || r.Messages.Missing != 0 {
		c.t.Fatalf("want %d messages, all held: %s", n, o)
	}
	return r
}

// nothingNew pulls and demands that nothing new is stored.
func (c *client) nothingNew(n int) *report {
	c.t.Helper()
	r := c.pull(n)
	if r.Messages.New != 0 {
		c.t.Fatalf("%d messages are new in a run that can find nothing new: %s", r.Messages.New, c.runs[len(c.runs)-1])
	}
	return r
}

// A report is what --json prints, as far as the tests look at it.
type report struct {
	Version  int       `json:"version"`
	Command  string    `json:"command"`
	Verdict  string    `json:"verdict"`
	Error    string    `json:"error"` // what ended the whole run
	Messages messages  `json:"messages"`
	Accounts []ledgers `json:"accounts"`
}

type messages struct {
	Server    int `json:"server"`
	Held      int `json:"held"`
	New       int `json:"new"`
	Duplicate int `json:"duplicate"`
	Missing   int `json:"missing"`
	LeftOut   int `json:"left_out"`
}

type ledgers struct {
	Name      string   `json:"name"`
	Class     string   `json:"class"`
	Error     string   `json:"error"`
	Scope     string   `json:"scope"`
	Mailboxes []ledger `json:"mailboxes"`
}

type ledger struct {
	Name      string `json:"name"`
	Server    int    `json:"server"`
	Held      int    `json:"held"`
	New       int    `json:"new"`
	Duplicate int    `json:"duplicate"`
	LeftOut   int    `json:"left_out"`
	Missing   []struct {
		UID    string `json:"uid"`
		Reason string `json:"reason"`
	} `json:"missing"`
}

// report reads the one JSON object the run printed, and demands that a pull's
// sums are right: a ledger that does not add up is wrong whatever happened.
func (o *outcome) report(t *testing.T) *report {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(o.stdout.Bytes()))
	var r report
	if err := d.Decode(&r); err != nil {
		t.Fatalf("stdout is no JSON object (%v): %s", err, o)
	}
	if d.More() {
		t.Fatalf("more than one JSON object: %s", o)
	}
	if r.Version != 1 {
		t.Fatalf("version %d, want 1: %s", r.Version, o)
	}
	if r.Command != "pull" {
		return &r
	}
	var sum messages
	wrong := false
	for _, a := range r.Accounts {
		for _, m := range a.Mailboxes {
			if m.Server != m.Held+len(m.Missing)+m.LeftOut {
				t.Errorf("%s %q does not add up: %+v", a.Name, m.Name, m)
				wrong = true
			}
			sum.Server += m.Server
			sum.Held += m.Held
			sum.Missing += len(m.Missing)
		}
	}
	if sum.Server != r.Messages.Server || sum.Held != r.Messages.Held || sum.Missing != r.Messages.Missing {
		t.Errorf("the mailboxes' sums %+v are not the report's %+v", sum, r.Messages)
		wrong = true
	}
	if wrong {
		t.Fatalf("wrong sums: %s", o)
	}
	return &r
}
