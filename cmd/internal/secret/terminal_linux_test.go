package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty opens a pair of terminal ends: what is written to typed arrives at shown
// as if from a keyboard.
func pty(t *testing.T) (typed, shown *os.File) {
	t.Helper()
	typed, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { typed.Close() })
	if err := unix.IoctlSetPointerInt(int(typed.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(typed.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	shown, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shown.Close() })
	return typed, shown
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag&unix.ECHO != 0
}

func waitForEcho(t *testing.T, f *os.File, want bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); echoes(t, f) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("echo did not become %v", want)
		}
	}
}

func TestTerminal(t *testing.T) {
	typed, shown := pty(t)
	var out bytes.Buffer
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := Terminal(t.Context(), shown, &out, "Password: ")
		answered <- answer{text, err}
	}()
	waitForEcho(t, shown, false)
	if _, err := io.WriteString(typed, canary+"\n"); err != nil {
		t.Fatal(err)
	}
	a := <-answered
	if a.err != nil || a.text != canary || out.String() != "Password: \n" {
		t.Errorf("got %q, %v; shown %q", a.text, a.err, out.String())
	}
	waitForEcho(t, shown, true)
}

func TestTerminalIsRestoredOnCancel(t *testing.T) {
	typed, shown := pty(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := Terminal(ctx, shown, io.Discard, "Password: ")
		failed <- err
	}()
	waitForEcho(t, shown, false)

	// A second question waits for the first one's end.
	second, cancelSecond := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancelSecond()
	_, err := Terminal(second, shown, io.Discard, "Other: ")
	if demand(t, "", err, CodeCancelled, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}

	cancel()
	demand(t, "", <-failed, CodeCancelled, nil)
	if !echoes(t, shown) {
		t.Error("the terminal does not echo after a cancelled question")
	}
	// The line that the cancelled question still waits for.
	if _, err := io.WriteString(typed, strings.Repeat("x", 3)+"\n"); err != nil {
		t.Fatal(err)
	}
	asking <- struct{}{} // until the reader has let go
	<-asking
	if !echoes(t, shown) {
		t.Error("the late reader changed the terminal")
	}
}
