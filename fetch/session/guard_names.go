package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/emersion/go-imap/v2"
)

const (
	// mailboxAlias begins the name under which the library knows a mailbox whose
	// own name it cannot carry; the octets follow in hexadecimal, and mailboxEnd.
	mailboxAlias = "~fumibako~"
	mailboxEnd   = "~"

	// longAlias marks an alias that cannot be mapped back: the library would send
	// a longer one as a literal.
	longAlias   = "long~"
	longestName = 1500 // octets

	// flagAlias is the same for flags.
	flagAlias = "fumibako-flag-"
)

// appendMailbox appends a mailbox name as a string the library reads and sends
// back as it is: itself where it is canonical modified UTF-7, else an alias.
func appendMailbox(dst, raw []byte) []byte {
	switch {
	case equalFold(raw, "INBOX"):
		return append(dst, "INBOX"...)
	case isPlainMailbox(raw):
		return appendQuoted(dst, raw)
	}
	dst = append(dst, '"')
	dst = append(dst, mailboxAlias...)
	if len(raw) > longestName {
		sum := sha256.Sum256(raw)
		dst = append(dst, longAlias...)
		dst = hex.AppendEncode(dst, raw[:64])
		raw = sum[:8]
	}
	dst = hex.AppendEncode(dst, raw)
	return append(dst, mailboxEnd+`"`...)
}

// isPlainMailbox reports whether the library decodes raw and encodes it to the
// same octets again.
func isPlainMailbox(raw []byte) bool {
	shift := false
	for _, c := range raw {
		if c < 0x20 || c > 0x7e {
			return false
		}
		shift = shift || c == '&'
	}
	if bytes.HasPrefix(raw, []byte(mailboxAlias)) {
		return false
	}
	if shift {
		name, ok := decodeUTF7(string(raw))
		return ok && encodeUTF7(name) == string(raw)
	}
	return len(raw) > 0
}

// MailboxName returns what the mailbox is called that the library knows under
// the name library: name is the name decoded to UTF-8, or the octets themselves
// where they do not decode; octets is the name as the server spells it.
// sendable is false if the server's spelling cannot be sent back.
func MailboxName(library string) (name, octets string, sendable bool) {
	code, ok := strings.CutPrefix(library, mailboxAlias)
	if !ok {
		return library, encodeUTF7(library), true
	}
	code, long := strings.CutPrefix(code, longAlias)
	raw, err := hex.DecodeString(strings.TrimSuffix(code, mailboxEnd))
	if err != nil {
		return library, library, true
	}
	octets = string(raw)
	name = octets
	if decoded, ok := decodeUTF7(octets); ok && !long {
		name = decoded
	}
	return name, octets, !long && !strings.ContainsAny(octets, "\r\n\x00")
}

// appendFlag appends a flag, keyword or attribute that the library reads: itself
// where it is an atom, else an alias.
func appendFlag(dst, raw []byte) []byte {
	name := raw
	if len(name) > 0 && name[0] == '\\' {
		name = name[1:]
	}
	if isAtom(name) && !bytes.HasPrefix(name, []byte(flagAlias)) || string(raw) == `\*` {
		return append(dst, raw...)
	}
	dst = append(dst, flagAlias...)
	return hex.AppendEncode(dst, raw)
}

// FlagName returns a flag as the server spells it, but that the library writes
// the registered ones in their usual case. Flags are compared without regard to
// case (RFC 9051 §2.3.2).
func FlagName(f imap.Flag) string {
	if code, ok := strings.CutPrefix(string(f), flagAlias); ok {
		if raw, err := hex.DecodeString(code); err == nil {
			return string(raw)
		}
	}
	return string(f)
}

// restoreMailboxes replaces the aliases in a command line by the server's own
// spelling. ok is false if one cannot be sent.
func (g *guard) restoreMailboxes(line []byte) (restored []byte, ok bool) {
	mark := []byte(`"` + mailboxAlias)
	from := bytes.Index(line, mark)
	if from < 0 {
		return line, true
	}
	var out []byte
	for from >= 0 {
		out = append(out, line[:from]...)
		line = line[from+1:]
		n := bytes.IndexByte(line, '"')
		if n < 0 {
			return nil, false
		}
		_, octets, sendable := MailboxName(string(line[:n]))
		line = line[n+1:]
		if !sendable {
			return nil, false
		}
		out = g.appendRawMailbox(out, octets)
		from = bytes.Index(line, mark)
	}
	return append(out, line...), true
}

// appendRawMailbox appends octets the way a server that lists them is most
// likely to take them back. They have no CR, LF or NUL.
func (g *guard) appendRawMailbox(dst []byte, octets string) []byte {
	for i := range len(octets) {
		if octets[i] > 0x7e && g.literalPlus {
			// Only a literal may carry 8-bit octets (RFC 3501 §4.3), and only a
			// non-synchronising one fits into a pipeline.
			dst = append(dst, '{')
			dst = appendInt(dst, int64(len(octets)))
			dst = append(dst, "+}\r\n"...)
			return append(dst, octets...)
		}
	}
	// QUIRK(several): servers that list raw 8-bit octets in quoted strings take
	// them back in quoted strings.
	return appendQuoted(dst, []byte(octets))
}
