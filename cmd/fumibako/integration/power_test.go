//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FS_IOC_SHUTDOWN and its flag that throws away what was not yet in the
// journal's log on the disk: for the file system it is a power cut.
const (
	fsIocShutdown = 0x8004587D
	noLogFlush    = 2
)

// A disk is an ext4 file system on a file, whose power can be cut.
type disk struct {
	t            *testing.T
	image, mount string
	mounted      bool
}

func newDisk(t *testing.T, octets int64) *disk {
	t.Helper()
	dir := tempDir(t)
	d := &disk{t: t, image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "disk")}
	must(t, os.Mkdir(d.mount, 0o755))
	f, err := os.Create(d.image)
	must(t, err)
	must(t, f.Truncate(octets))
	must(t, f.Close())
	command(t, "mkfs.ext4", "-q", "-F", d.image)
	d.attach()
	t.Cleanup(func() {
		if d.mounted {
			d.detach()
		}
	})
	return d
}

func (d *disk) attach() {
	d.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput(); err != nil {
		d.t.Fatalf("THIS MACHINE MOUNTS NO LOOP FILE, SO POWER CUTS CANNOT BE TESTED: %v: %s\nSet %s=1 to leave these tests out.",
			err, out, noLoopEnv)
	}
	d.mounted = true
}

func (d *disk) detach() {
	d.t.Helper()
	var err error
	for range 100 {
		if err = unix.Unmount(d.mount, 0); err == nil {
			d.mounted = false
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.t.Fatalf("unmounting %s: %v", d.mount, err)
}

// cut ends the power: what is not durable at this moment is gone.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.mount)
	must(d.t, err)
	defer f.Close()
	must(d.t, unix.IoctlSetPointerInt(int(f.Fd()), fsIocShutdown, noLogFlush))
}

// again is the next start of the machine.
func (d *disk) again() {
	d.t.Helper()
	d.detach()
	d.attach()
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// TestPowerCut cuts the power at random moments of a pull, and once right after
// a run that reported everything as held. What was reported as held before the
// cut is whole after it, and the next run needs no hand.
func TestPowerCut(t *testing.T) {
	if !needMounts(t) {
		return
	}
	const first, more = 400, 1200
	d := startDovecot(t, dovecotOptions{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	cuts := 0
	trials := count(6, 30)
	for i := range trials {
		v := variants[(i+i/4)%len(variants)]
		t.Run(fmt.Sprintf("%02d-%s-%s", i, v.protocol, v.format), func(t *testing.T) {
			user := fmt.Sprintf("power%d", i)
			mailboxes := nested
			if v.protocol == "pop3" {
				mailboxes = nil
			}
			options := mailOptions{n: first, seed: 100 + uint64(i), median: 1500, mailboxes: mailboxes, oddities: true}
			fill(t, d.maildir(user), options)
			defer os.RemoveAll(d.maildir(user))
			p := startProxy(t, d.address(v.protocol))
			power := newDisk(t, 192<<20)
			c := newClient(t, v.format, account{protocol: v.protocol, port: p.port, user: user})
			c.archive = filepath.Join(power.mount, "archive")
			c.configure(account{protocol: v.protocol, port: p.port, user: user})
			c.pull(first)
			reported := readServer(t, d, v.protocol, user)

			if i%6 == 5 {
				// The report is out: not one octet of it may depend on luck.
				power.cut()
			} else {
				options.n, options.first = more, first
				fill(t, d.maildir(user), options)
				_, octets := total(readServer(t, d, v.protocol, user))
				p.rate.Store(octets)
				run := c.start("pull", "--json")
				stopped := make(chan struct{})
				p.at(r.Int64N(octets*2/3), func() {
					time.Sleep(time.Duration(r.Int64N(int64(30 * time.Millisecond))))
					run.signal(syscall.SIGSTOP)
					close(stopped)
				})
				select {
				case <-stopped:
					cuts++
				case <-run.ended:
				}
				power.cut()
				run.signal(syscall.SIGKILL)
				run.wait()
			}
			power.again()
			p.clear()

			want := readServer(t, d, v.protocol, user)
			demandCrashSafe(t, c, want)
			if v.format == "maildir" {
				demandReported(t, c, reported)
			}
			if i%4 >= 2 {
				c.run(0, "verify", "--json")
				demandReported(t, c, reported)
				demandNothingTorn(t, c, want)
			}
			n, _ := total(want)
			c.pull(n)
			demandExact(t, c, want)
			c.run(0, "verify", "--json")
			c.nothingNew(n)
		})
	}
	t.Logf("%d trials, %d cuts in the middle of a run", trials, cuts)
	if cuts < trials/2 {
		t.Errorf("only %d of %d trials cut a running pull", cuts, trials)
	}
}

// demandReported demands that every message a run reported as held is on disk.
func demandReported(t *testing.T, c *client, reported map[string][]served) {
	t.Helper()
	held := readArchive(t, c)
	for name, messages := range reported {
		on := map[digest]bool{}
		for _, s := range held[name] {
			on[s.raw], on[s.short] = true, true
		}
		lost := 0
		for _, s := range messages {
			if !on[s.raw] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("mailbox %q: %d of %d messages were reported as held and are not there", name, lost, len(messages))
		}
	}
}
