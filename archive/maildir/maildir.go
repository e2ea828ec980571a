// Package maildir reads and makes the file names of a Maildir.
//
// A name is a base, which stays with a message for as long as the file lives,
// and, in cur, a separator, "2," and the info: one letter for each flag. The
// base that fumibako makes carries the sizes that Maildir++ readers look for:
//
//	1780000000.R0123abcd.fumibako,S=4711,W=4790:2,FS
//
// S is the size of the file, W the size of the message with CRLF line ends.
// The separator is ':' as the format says, or ';' where a file system cannot
// keep a colon (FAT, exFAT, NTFS, SMB); names with either, or with the '!' of
// other programs, are read alike.
//
// Letters and whatever else another program keeps in an info stay where they
// are: this package changes only the letters it knows.
//
// It deliberately touches no file. Writing, syncing and renaming are the
// archive's business.
package maildir

import (
	"slices"
	"strconv"
	"strings"
)

// marker follows the separator of every name whose letters are flags.
const marker = "2,"

// letters lists the flags that have a letter, in ASCII order of the letters.
// P ("passed") is what mail programs write for a forwarded message.
var letters = []struct {
	letter byte
	flag   string
}{
	{'D', `\Draft`},
	{'F', `\Flagged`},
	{'P', `$Forwarded`},
	{'R', `\Answered`},
	{'S', `\Seen`},
	{'T', `\Deleted`},
}

// Base makes the part of a name that never changes. unix is the time of
// delivery in seconds, key makes the name unique (letters and digits), stored
// is the size of the file in octets, and wire the size of the message with each
// line end as CRLF.
func Base(unix int64, key string, stored, wire int64) string {
	return strconv.FormatInt(unix, 10) + ".R" + key + ".fumibako,S=" + strconv.FormatInt(stored, 10) +
		",W=" + strconv.FormatInt(wire, 10)
}

// Join makes the name of a file in cur: base, sep (':' or ';'), "2," and the
// letters of flags.
func Join(base string, sep byte, flags []string) string {
	return base + string(sep) + marker + Letters(flags)
}

// Split takes a name apart. Info is what stands after the last separator (':',
// ';' or '!') that "2," follows; without one, base is the whole name and info
// is "". Split never loses an octet other than the separator and its "2,".
func Split(name string) (base, info string) {
	for i := len(name) - len(marker) - 1; i >= 0; i-- {
		switch name[i] {
		case ':', ';', '!':
			if strings.HasPrefix(name[i+1:], marker) {
				return name[:i], name[i+1+len(marker):]
			}
		}
	}
	return name, ""
}

// Flags gives the flags of an info as IMAP writes them, in ASCII order of their
// letters, each once. Letters it does not know are passed over.
func Flags(info string) []string {
	own, _ := split(info)
	var flags []string
	for _, l := range letters {
		if strings.IndexByte(own, l.letter) >= 0 {
			flags = append(flags, l.flag)
		}
	}
	return flags
}

// Letters gives the letters of flags in ASCII order, each once. Flags compare
// without case (RFC 9051 §2.3.2); one that has no letter gives none.
func Letters(flags []string) string {
	var out []byte
	for _, l := range letters {
		if slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, l.flag) }) {
			out = append(out, l.letter)
		}
	}
	return string(out)
}

// Apply takes the letters of remove out of info and puts those of add in; a
// flag in both is added. Everything else in info stays: letters of other
// programs (such as the a to z by which Dovecot keeps keywords), and the fields
// that some write after a comma. If nothing changes, info is returned as it is,
// so that a file needs no renaming; otherwise the letters are put into the
// ASCII order that the format asks for.
func Apply(info string, add, remove []string) string {
	own, rest := split(info)
	plus, minus := Letters(add), Letters(remove)
	out := make([]byte, 0, len(own)+len(plus))
	changed := false
	for i := range len(own) {
		if strings.IndexByte(minus, own[i]) >= 0 && strings.IndexByte(plus, own[i]) < 0 {
			changed = true
			continue
		}
		out = append(out, own[i])
	}
	for i := range len(plus) {
		if strings.IndexByte(own, plus[i]) < 0 {
			changed = true
			out = append(out, plus[i])
		}
	}
	if !changed {
		return info
	}
	// Octets above ASCII are characters of somebody's own: they must not be
	// torn apart, so they keep their order and stand last.
	slices.SortStableFunc(out, func(a, b byte) int { return int(min(a, 0x80)) - int(min(b, 0x80)) })
	return string(out) + rest
}

// split cuts info at the comma that ends the letters.
func split(info string) (own, rest string) {
	if i := strings.IndexByte(info, ','); i >= 0 {
		return info[:i], info[i:]
	}
	return info, ""
}

// Size reads the size of the file, in octets, out of a base: its first ",S="
// field. It is false if there is none or it is no number of octets.
func Size(base string) (stored int64, ok bool) {
	_, fields, _ := strings.Cut(base, ",")
	for field := range strings.SplitSeq(fields, ",") {
		digits, found := strings.CutPrefix(field, "S=")
		if !found {
			continue
		}
		// ParseUint takes no sign, unlike ParseInt.
		n, err := strconv.ParseUint(digits, 10, 63)
		return int64(n), err == nil
	}
	return 0, false
}
