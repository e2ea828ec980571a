// Package safe makes text that came from outside (a server, a file, a command
// line) fit to be shown: on a terminal, in a sentence, in a report.
//
// It knows nothing of message bodies, which are never changed.
package safe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text makes s fit to stand in one line on a terminal: valid UTF-8, at most
// max characters (the cut is marked with …), without control characters, line
// ends, or marks that reorder or hide what is written.
func Text(s string, max int) string {
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n == max {
			b.WriteRune('…')
			break
		}
		n++
		switch {
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				r = '\uFFFD'
			}
		case r == '\n', r == '\r', r == '\t', r == '\u2028', r == '\u2029':
			r = ' '
		case unicode.IsControl(r), reorders(r):
			r = '\uFFFD'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// reorders tells the format characters that move or hide the text around them
// (Unicode UAX #9 §2, and the tag characters). The joiners that scripts and
// emoji need are not among them.
func reorders(r rune) bool {
	return r == '\u061C' || r == '\u200B' || r == '\u200E' || r == '\u200F' ||
		r >= '\u202A' && r <= '\u202E' || r >= '\u2060' && r <= '\u2069' ||
		r == '\uFEFF' || r >= 0xFFF9 && r <= 0xFFFB || r >= 0xE0000 && r <= 0xE007F
}

// maxArg bounds a string among the arguments of a sentence. Characters.
const maxArg = 200

// Args builds the arguments of a sentence from name, value, name, value …;
// strings are made fit with Text.
func Args(pairs ...any) map[string]any {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		v := pairs[i+1]
		if s, ok := v.(string); ok {
			v = Text(s, maxArg)
		}
		m[pairs[i].(string)] = v
	}
	return m
}
