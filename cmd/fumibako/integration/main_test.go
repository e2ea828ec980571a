//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

const (
	insideEnv = "FUMIBAKO_INSIDE_NAMESPACE"
	fullEnv   = "FUMIBAKO_FULL"
	noLoopEnv = "FUMIBAKO_NO_LOOP"
)

// program is the path of the fumibako built for this run.
var program string

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) == "" && mountsWanted() {
		os.Exit(runInside())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "integration tests need root: Dovecot changes its user, and file systems are mounted")
		return 1
	}
	dir, err := os.MkdirTemp("", "fumibako-it-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "fumibako")
	build := exec.Command("go", "build", "-o", program, "github.com/fumibako-mail/fumibako/cmd/fumibako")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// runInside runs this test binary again in a mount namespace of its own and
// returns its exit code.
func runInside() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c := exec.Command(self, os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = nil, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), insideEnv+"=1")
	// With Unshareflags, package syscall makes every mount private before the
	// program starts, so no mount of ours can leak out.
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	fmt.Fprintf(os.Stderr, "THIS MACHINE ALLOWS NO MOUNT NAMESPACE (%v): power cuts and full disks cannot be tested.\n"+
		"Run as root, or set %s=1 to leave these tests out.\n", err, noLoopEnv)
	return 1
}

func mountsWanted() bool { return os.Getenv(noLoopEnv) != "1" }

// needMounts reports whether a test that mounts file systems can run. It says
// so loudly where the person who runs the tests has switched them off.
func needMounts(t *testing.T) bool {
	t.Helper()
	if mountsWanted() {
		return true
	}
	t.Logf("NOT TESTED: %s=1 leaves out what needs mounts", noLoopEnv)
	return false
}

// count is n on every commit and full with FUMIBAKO_FULL=1.
func count(n, full int) int {
	if os.Getenv(fullEnv) == "1" {
		return full
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tempDir is t.TempDir with a short name that other users may enter: the path
// of a Unix socket has room for 107 octets.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fb")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
