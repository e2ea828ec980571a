package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A fence is a fenced block of a README.
type fence struct {
	language string
	mark     string // the line above it
	line     int
	text     string
}

// fences splits a README.
func fences(text string) []fence {
	var all []fence
	var open *fence
	above := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		switch {
		case open != nil && line == "```":
			all = append(all, *open)
			open, above = nil, ""
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "```"):
			open = &fence{language: strings.TrimPrefix(line, "```"), mark: above, line: i + 1}
		default:
			above = line
		}
	}
	return all
}

// TestREADME demands that both READMEs have a command to run, that each sh
// block says whether CI runs it (<!-- run -->) or whether it needs someone's
// server (<!-- example -->), and that the blocks to run are the same in both
// and have the test command among them.
func TestREADME(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	blocks := map[string][]string{}
	for _, name := range []string{"README.md", "README.ja.md"} {
		octets, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fences(string(octets)) {
			if f.language != "sh" {
				continue
			}
			switch f.mark {
			case "<!-- run -->":
				blocks[name] = append(blocks[name], f.text)
			case "<!-- example -->":
			default:
				t.Errorf("%s:%d: a sh block without <!-- run --> or <!-- example --> above it", name, f.line)
			}
		}
		if len(blocks[name]) == 0 {
			t.Errorf("%s has nothing to run", name)
		}
		if !slices.ContainsFunc(blocks[name], func(b string) bool { return strings.Contains(b, "go test ./...\n") }) {
			t.Errorf("%s does not run the test command", name)
		}
	}
	if !slices.Equal(blocks["README.md"], blocks["README.ja.md"]) {
		t.Errorf("the READMEs show different commands:\n%q\n%q", blocks["README.md"], blocks["README.ja.md"])
	}
}
