package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// The names on the disk. A server's words never reach the file system as they
// are: each component of a mailbox name is escaped by the strictest rule of all
// systems, on every system, so that an archive can be carried to any other.

const (
	// maxComponent bounds an escaped component, in octets. With ".mbox" and
	// ".lock" behind it, it fits the strictest file systems (eCryptfs: 143).
	maxComponent = 120
	// maxMailboxPath bounds the path of a mailbox below the archive, in octets:
	// a path of 1024 octets is all that macOS takes.
	maxMailboxPath = 600

	mboxSuffix = ".mbox"

	// What follows '%' in these is no octet in hex, so no escape gives them.
	emptyComponent = "%empty"
	cutMark        = "%-" // and half the SHA-256 of the component, in hex
	twinMark       = "%~" // and the number of the twin
	cutDigits      = 16
)

// rootNames are files of ours in the archive's root, where accounts stand too.
var rootNames = []string{"README.txt", "はじめにお読みください.txt"}

// devices are the names that Windows takes for devices in every folder, with
// any extension.
var devices = []string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}

// hostile are characters that cannot be seen, turn the direction of text, are
// refused or ignored by file systems, or are what some systems write for what
// they forbid. They are listed, not looked up in the tables of unicode: a name
// must not change with the version of Unicode.
var hostile = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x0080, 0x009F, 1}, // C1 controls
		{0x00AD, 0x00AD, 1},
		{0x061C, 0x061C, 1},
		{0x180E, 0x180E, 1},
		{0x200B, 0x200B, 1},
		{0x200E, 0x200F, 1},
		{0x2028, 0x202E, 1},
		{0x2060, 0x206F, 1},
		{0xE000, 0xF8FF, 1}, // private use; macOS and Samba write ':' and '?' there
		{0xFDD0, 0xFDEF, 1},
		{0xFEFF, 0xFEFF, 1},
		{0xFFF9, 0xFFFB, 1},
		{0xFFFE, 0xFFFF, 1},
	},
	R32: []unicode.Range32{
		{0xE0000, 0xE007F, 1},
		{0xF0000, 0x10FFFF, 1}, // private use
	},
}

// ignorable are the characters that case-insensitive file systems pass over
// when they compare (Default_Ignorable_Code_Point), as far as not hostile.
var ignorable = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x034F, 0x034F, 1},
		{0x115F, 0x1160, 1},
		{0x17B4, 0x17B5, 1},
		{0x180B, 0x180F, 1},
		{0x200C, 0x200D, 1},
		{0x3164, 0x3164, 1},
		{0xFE00, 0xFE0F, 1},
		{0xFFA0, 0xFFA0, 1},
		{0xFFF0, 0xFFF8, 1},
	},
	R32: []unicode.Range32{
		{0x1BCA0, 0x1BCA3, 1},
		{0x1D173, 0x1D17A, 1},
		{0xE0100, 0xE0FFF, 1},
	},
}

// escapeComponent gives the file name for one component of a mailbox name or
// for an account. Each octet that some system forbids or treats specially
// becomes %XX, '%' too; all else stays readable UTF-8.
//
// Different components give different names (of those that must be cut, to the
// strength of 64 bits of SHA-256: callers find twins by foldPath anyway). The
// name is at most maxComponent octets of valid UTF-8, and NFC leaves it alone:
// what in s is not NFC is escaped, so s and its NFC form give two names.
func escapeComponent(s string) string {
	if s == "" {
		return emptyComponent
	}
	marked := make([]bool, len(s))
	markHostile(s, marked)
	markPlaces(s, marked)
	markUnstable(s, marked)
	out := encode(s, marked)
	if !norm.NFC.IsNormalString(out) {
		// More combining marks in a row than NFC allows for: no part of it can
		// be judged by itself.
		for i := range marked {
			marked[i] = marked[i] || s[i] >= utf8.RuneSelf
		}
		out = encode(s, marked)
	}
	if len(out) > maxComponent {
		out = cut(out, s)
	}
	return out
}

// markHostile marks octets that may stand nowhere in a name.
func markHostile(s string, marked []bool) {
	for i, r := range s {
		size := 1
		bad := r < ' ' || r == 0x7F || strings.ContainsRune(`<>:"/\|?*%`, r)
		if r >= utf8.RuneSelf {
			var got rune
			got, size = utf8.DecodeRuneInString(s[i:])
			bad = got == utf8.RuneError && size == 1 || unicode.Is(hostile, r) || r&0xFFFE == 0xFFFE
		}
		mark(marked, i, size, bad)
	}
}

func mark(marked []bool, i, size int, bad bool) {
	for j := i; bad && j < i+size; j++ {
		marked[j] = true
	}
}

// markPlaces marks octets that may not stand where they do, or whose name as a
// whole means something to a system or to us.
func markPlaces(s string, marked []bool) {
	first, size := utf8.DecodeRuneInString(s)
	mark(marked, 0, size, first == '.' || unicode.IsSpace(first))
	last, size := utf8.DecodeLastRuneInString(s)
	mark(marked, len(s)-size, size, last == '.' || unicode.IsSpace(last))

	for _, name := range []string{"cur", "new", "tmp"} {
		mark(marked, 0, 1, strings.EqualFold(s, name))
	}
	mark(marked, 0, 1, isDevice(s))
	if dot := len(s) - len(mboxSuffix); dot >= 0 {
		mark(marked, dot, 1, strings.EqualFold(s[dot:], mboxSuffix) || strings.EqualFold(s[dot:], ".lock"))
	}
	// Windows gives a long name a second one of 8.3 characters, such as
	// LONGNA~1, and would open the other mailbox under it.
	if utf8.RuneCountInString(s) <= len("12345678.123") {
		for i := range len(s) - 1 {
			mark(marked, i, 1, s[i] == '~' && '0' <= s[i+1] && s[i+1] <= '9')
		}
	}
}

// isDevice reports whether Windows takes s for a device.
func isDevice(s string) bool {
	s, _, _ = strings.Cut(s, ".")
	s = strings.TrimRight(s, " ")
	for _, d := range devices {
		if strings.EqualFold(s, d) {
			return true
		}
	}
	if len(s) < 4 || !strings.EqualFold(s[:3], "COM") && !strings.EqualFold(s[:3], "LPT") {
		return false
	}
	switch n := s[3:]; n {
	case "¹", "²", "³":
		return true
	default:
		return len(n) == 1 && '0' <= n[0] && n[0] <= '9'
	}
}

// markUnstable marks what Unicode normalization would change, now or once the
// octets marked so far are letters and digits: "%3A" and a combining accent
// would become "%3" and "Á".
func markUnstable(s string, marked []bool) {
	for i := 0; i < len(s); {
		n := norm.NFC.NextBoundaryInString(s[i:], true)
		if n <= 0 {
			n = len(s) - i
		}
		bad := !norm.NFC.IsNormalString(s[i : i+n])
		for j := i; j < i+n; j++ {
			bad = bad || marked[j]
		}
		for j := i; j < i+n; j++ {
			mark(marked, j, 1, bad && s[j] >= utf8.RuneSelf)
		}
		i += n
	}
}

func encode(s string, marked []bool) string {
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if marked[i] {
			out = append(out, '%', digits[s[i]>>4], digits[s[i]&15])
		} else {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// cut shortens the escaped form of s between two characters.
func cut(escaped, s string) string {
	n := 0
	for {
		_, size := utf8.DecodeRuneInString(escaped[n:])
		if escaped[n] == '%' {
			size = 3
		}
		if n+size > maxComponent-len(cutMark)-cutDigits {
			break
		}
		n += size
	}
	sum := sha256.Sum256([]byte(s))
	return escaped[:n] + cutMark + hex.EncodeToString(sum[:])[:cutDigits]
}

// unescapeComponent gives back what escapeComponent was given. Of a component
// that was cut, and of a twin, the marks stay as they are.
func unescapeComponent(name string) string {
	if name == emptyComponent {
		return ""
	}
	out := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && i+2 < len(name) {
			if b, err := hex.DecodeString(name[i+1 : i+3]); err == nil {
				out = append(out, b...)
				i += 2
				continue
			}
		}
		out = append(out, name[i])
	}
	return string(out)
}

// trueComponents takes a mailbox's true name apart at its hierarchy delimiter.
// Without a delimiter the name is one component; two delimiters in a row, or
// one at either end, give empty components, so that no two names become one.
func trueComponents(name, delimiter string) []string {
	if delimiter == "" {
		return []string{name}
	}
	return strings.Split(name, delimiter)
}

// mailboxPath gives the path of a mailbox below the archive, with slashes: the
// account, then a folder for each component of the name. With mbox the last
// component is a file and ends in ".mbox". If the hierarchy is so deep that the
// path would be longer than maxMailboxPath, its lower end is one component.
func mailboxPath(account, name, delimiter string, mbox bool) string {
	p := escapeComponent(account)
	for _, n := range rootNames {
		if foldPath(account) == foldPath(n) {
			p = strings.TrimSuffix(p, path.Ext(p)) + "%2E" + path.Ext(p)[1:]
		}
	}
	components := trueComponents(name, delimiter)
	for i, c := range components {
		e := escapeComponent(c)
		last := i == len(components)-1
		if !last && len(p)+1+len(e) > maxMailboxPath-1-maxComponent-len(mboxSuffix) {
			e, last = escapeComponent(strings.Join(components[i:], delimiter)), true
		}
		p += "/" + e
		if last {
			break
		}
	}
	if mbox {
		p += mboxSuffix
	}
	return p
}

// foldPath gives the key under which two paths are one on some system: those
// that differ only in case, in Unicode composition, or in characters that some
// file systems ignore. It is no path. In doubt two paths are twins: that costs
// one of them a mark, and the other way round two mailboxes would be one.
func foldPath(p string) string {
	// Some file systems compare by upper case, and there ı is I.
	p = strings.ToUpper(norm.NFD.String(p))
	p = norm.NFD.String(cases.Fold().String(p))
	afterI := false
	p = strings.Map(func(r rune) rune {
		afterI = r == 'i' || afterI && unicode.Is(unicode.Mn, r)
		// The lower case of İ is i here, and i with a dot above there.
		if unicode.Is(ignorable, r) || afterI && r == '\u0307' {
			return -1
		}
		return r
	}, p)
	return norm.NFC.String(p)
}

// twinPath gives the path for the n-th mailbox (n >= 2) whose path is p but for
// what foldPath ignores. No mailboxPath is ever equal to it.
func twinPath(p string, n int) string {
	base, isMbox := strings.CutSuffix(p, mboxSuffix)
	base += twinMark + strconv.Itoa(n)
	if isMbox {
		base += mboxSuffix
	}
	return base
}
