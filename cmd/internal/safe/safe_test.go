package safe

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextIsBounded(t *testing.T) {
	if got := Text(strings.Repeat("文", 500), 10); got != strings.Repeat("文", 10)+"…" {
		t.Errorf("got %q", got)
	}
	if got := Text("👨‍👩‍👧 ok", 100); got != "👨‍👩‍👧 ok" {
		t.Errorf("a joiner was lost: %q", got)
	}
}

func TestTextSteersNothing(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"escape sequence", "a\x1b[2Jb", "a\uFFFD[2Jb"},
		{"C1 control", "a\u009b2Jb", "a\uFFFD2Jb"},
		{"line end", "a\r\nb", "a  b"},
		{"line separator", "a\u2028b", "a b"},
		{"right to left override", "a\u202egpj.exe", "a\uFFFDgpj.exe"},
		{"octets that are not UTF-8", "a\xff\xfeb", "a\uFFFD\uFFFDb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Text(tc.in, 80); got != tc.want || !utf8.ValidString(got) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
