package cli

import (
	"io"
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/fumibako-mail/fumibako/cmd/internal/report"
	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// bar is one line at the bottom of a terminal. A nil bar shows nothing. It is
// not safe for concurrent use: the screen's lock guards it.
type bar struct {
	w     io.Writer
	file  *os.File // nil if the width of the terminal cannot be asked
	p     *progressbar.ProgressBar
	plain int // columns of a text without a bar that stand on the line
}

func newBar(w io.Writer) *bar {
	f, _ := w.(*os.File)
	// Wrapped, because progressbar fsyncs what it recognises as a file, each time.
	return &bar{w: struct{ io.Writer }{w}, file: f}
}

func (b *bar) columns() int {
	if b.file != nil {
		if n, _, err := term.GetSize(int(b.file.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

// gauge is what progressbar writes beside the description: percentage and bar.
// Octets, rate and time left stand in the description, in the reader's words.
const gauge = 16

// set shows the longest of texts that has room, and how many octets of size
// have arrived once size is known.
func (b *bar) set(texts []string, octets, size int64) {
	room := b.columns() - 1
	if size > 0 {
		room = b.columns() - gauge
	}
	text := texts[len(texts)-1]
	for _, t := range texts {
		if report.Width(t) <= room {
			text = t
			break
		}
	}
	if size <= 0 {
		b.status(text)
		return
	}
	// A bar that reaches its end never moves again, and another account may
	// still have a plan to add: one octet is always left.
	size++
	if b.p == nil {
		b.clear()
		b.p = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(b.w), progressbar.OptionSetWidth(6),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetRenderBlankState(false))
	}
	if size != b.p.GetMax64() {
		b.p.ChangeMax64(size)
	}
	b.p.Describe(fit(text, room))
	// The counters are the truth; a bar that disagrees is not worth an error.
	_ = b.p.Set64(octets)
}

// status shows text alone.
func (b *bar) status(text string) {
	text = fit(text, b.columns()-1)
	pad := max(0, b.plain-report.Width(text))
	b.plain = report.Width(text)
	_, _ = io.WriteString(b.w, "\r"+text+strings.Repeat(" ", pad))
}

// clear empties the line.
func (b *bar) clear() {
	switch {
	case b == nil:
	case b.p != nil:
		_ = b.p.Clear()
	case b.plain > 0:
		_, _ = io.WriteString(b.w, "\r"+strings.Repeat(" ", b.plain)+"\r")
		b.plain = 0
	}
}

// fit cuts text to columns; a description that does not fit would break the
// line, and the bar with it.
func fit(text string, columns int) string {
	text = safe.Text(text, max(columns, 0))
	for report.Width(text) > max(columns, 0) {
		r := []rune(text)
		text = string(r[:len(r)-1])
	}
	return text
}
