package phrase

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// System returns the language of the system's user interface, or "".
func System() string {
	// A question about words must not keep the program from starting.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/defaults", "read", "-g", "AppleLocale").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
