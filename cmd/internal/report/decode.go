package report

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
)

const (
	maxDecodedRunes = 500      // what DecodeHeader returns at most
	maxRawOctets    = 16 << 10 // what it looks at
)

func init() {
	// Names in use for which the tables of go-message and x/text have no entry.
	for name, enc := range map[string]encoding.Encoding{
		"iso-2022-jp-1": japanese.ISO2022JP, "iso-2022-jp-2": japanese.ISO2022JP, "iso-2022-jp-3": japanese.ISO2022JP,
		"iso-2022-jp-2004": japanese.ISO2022JP, "iso-2022-jp-ms": japanese.ISO2022JP, "iso2022jp": japanese.ISO2022JP,
		"cp50220": japanese.ISO2022JP, "cp50221": japanese.ISO2022JP, "cp50222": japanese.ISO2022JP, "jis": japanese.ISO2022JP,
		"cp932": japanese.ShiftJIS, "ms932": japanese.ShiftJIS, "cp943": japanese.ShiftJIS, "windows-932": japanese.ShiftJIS,
		"windows-31j": japanese.ShiftJIS, "sjis-win": japanese.ShiftJIS, "x-mac-japanese": japanese.ShiftJIS,
		"eucjp": japanese.EUCJP, "eucjp-win": japanese.EUCJP, "eucjp-ms": japanese.EUCJP, "cp51932": japanese.EUCJP,
	} {
		charset.RegisterEncoding(name, enc)
	}
}

// DecodeHeader returns the raw value of a header field as a person reads it:
// encoded words decoded (RFC 2047), octets above 0x7F and ISO-2022-JP written
// without any label taken as UTF-8 or else as what Japanese mail uses, and
// U+FFFD for what cannot be read. The result is for display and for reports
// only. It is valid UTF-8 on one line without control characters, directional
// marks or other invisible characters, so that a sender can neither steer a
// terminal nor disguise a line; and it is at most 500 runes, the last one "…"
// if something was cut off. DecodeHeader may be called concurrently.
//
// It reads more than RFC 2047 allows: words with spaces in them, with a
// language (RFC 2231 §5) or without padding, and characters that are split
// between two words, as Japanese mail programs have written them.
func DecodeHeader(raw string) string {
	cut := len(raw) > maxRawOctets
	if cut {
		raw = raw[:maxRawOctets]
	}
	var b strings.Builder
	var run wordRun
	for raw != "" {
		at := strings.Index(raw, "=?")
		if at < 0 {
			at = len(raw)
		}
		word, length := parseWord(raw[at:])
		for length == 0 && at < len(raw) {
			next := strings.Index(raw[at+2:], "=?")
			if next < 0 {
				at = len(raw)
				break
			}
			at += 2 + next
			word, length = parseWord(raw[at:])
		}
		gap := raw[:at]
		raw = raw[at+length:]
		// RFC 2047 §6.2: white space between two encoded words is not part of the text.
		if length == 0 || len(run.charset) == 0 || strings.Trim(gap, " \t\r\n") != "" {
			run.flush(&b)
			b.WriteString(guess([]byte(gap)))
		}
		if length > 0 {
			run.add(&b, word)
		}
	}
	run.flush(&b)
	return legible(b.String(), cut)
}

// encodedWord is an encoded word whose octets are decoded, but not their charset.
type encodedWord struct {
	charset string // in lower case
	octets  []byte
}

// wordRun is a run of encoded words in one charset. Their octets are joined
// before they are decoded, because a character may begin in one word and end
// in the next.
type wordRun encodedWord

func (r *wordRun) add(b *strings.Builder, w encodedWord) {
	if r.charset != w.charset {
		r.flush(b)
	}
	r.charset = w.charset
	r.octets = append(r.octets, w.octets...)
}

func (r *wordRun) flush(b *strings.Builder) {
	if r.charset != "" {
		b.WriteString(decodeLabelled(r.charset, r.octets))
	}
	*r = wordRun{}
}

// parseWord reads the encoded word at the beginning of s and returns how long
// it is there, or 0 if there is none.
func parseWord(s string) (w encodedWord, length int) {
	rest, ok := strings.CutPrefix(s, "=?")
	if !ok {
		return w, 0
	}
	label, rest, ok := strings.Cut(rest, "?")
	label, _, _ = strings.Cut(label, "*")
	if !ok || label == "" || len(label) > 64 || strings.ContainsAny(label, " \t\r\n=") {
		return w, 0
	}
	coding, rest, ok := strings.Cut(rest, "?")
	if !ok {
		return w, 0
	}
	text, rest, ok := strings.Cut(rest, "?=")
	if !ok {
		return w, 0
	}
	switch coding {
	case "B", "b":
		w.octets = decodeB(text)
	case "Q", "q":
		w.octets = decodeQ(text)
	default:
		return w, 0
	}
	w.charset = strings.ToLower(label)
	return w, len(s) - len(rest)
}

// decodeB decodes base64 as far as it is base64, with or without padding.
func decodeB(text string) []byte {
	digits := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if c := text[i]; c > ' ' && c != '=' {
			digits = append(digits, c)
		}
	}
	if len(digits)%4 == 1 {
		digits = digits[:len(digits)-1]
	}
	octets := make([]byte, base64.RawStdEncoding.DecodedLen(len(digits)))
	n, _ := base64.RawStdEncoding.Decode(octets, digits)
	return octets[:n]
}

// decodeQ decodes the Q encoding; an "=" that begins no octet stays.
func decodeQ(text string) []byte {
	octets := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '_':
			octets = append(octets, ' ')
		case c == '=' && i+2 < len(text) && hexDigit(text[i+1]) >= 0 && hexDigit(text[i+2]) >= 0:
			octets = append(octets, byte(hexDigit(text[i+1])<<4|hexDigit(text[i+2])))
			i += 2
		default:
			octets = append(octets, c)
		}
	}
	return octets
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// decodeLabelled decodes octets by their label. A label that is unknown or
// does not fit them counts only if guessing does no better.
func decodeLabelled(label string, octets []byte) string {
	guessed := guess(octets)
	r, err := charset.Reader(label, bytes.NewReader(octets))
	if err != nil {
		return guessed
	}
	text, err := io.ReadAll(r)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) && !strings.ContainsRune(guessed, utf8.RuneError) {
		return guessed
	}
	return string(text)
}

// guess decodes octets that have no label.
func guess(octets []byte) string {
	for _, escape := range []string{"\x1b$B", "\x1b$@", "\x1b$(D", "\x1b(I"} {
		if bytes.Contains(octets, []byte(escape)) {
			text, _ := decodeWhole(japanese.ISO2022JP, octets)
			return text
		}
	}
	if mostlyUTF8(octets) {
		return strings.ToValidUTF8(string(octets), "\uFFFD")
	}
	euc, isEUC := decodeWhole(japanese.EUCJP, octets)
	sjis, isSJIS := decodeWhole(japanese.ShiftJIS, octets)
	// Text in Shift_JIS has lead octets below 0xA0, accented letters of
	// ISO 8859 have none.
	isSJIS = isSJIS && hasLowLead(octets)
	switch {
	case isSJIS && (!isEUC || halfWidth(sjis) < halfWidth(euc)):
		return sjis
	case isEUC:
		return euc
	}
	return strings.ToValidUTF8(string(octets), "\uFFFD")
}

// mostlyUTF8 reports whether octets are UTF-8, or were until some were cut
// off or damaged.
func mostlyUTF8(octets []byte) bool {
	long, bad := 0, 0
	for len(octets) > 0 {
		r, n := utf8.DecodeRune(octets)
		switch {
		case r == utf8.RuneError && n == 1:
			if !utf8.FullRune(octets) && long > 0 {
				return bad*4 <= long // the last character is cut off
			}
			bad++
		case n > 1:
			long++
		}
		octets = octets[n:]
	}
	return bad*4 <= long
}

func decodeWhole(enc encoding.Encoding, octets []byte) (string, bool) {
	text, err := enc.NewDecoder().Bytes(octets)
	return string(text), err == nil && !bytes.ContainsRune(text, utf8.RuneError)
}

func hasLowLead(octets []byte) bool {
	for _, c := range octets {
		if 0x81 <= c && c <= 0x9F {
			return true
		}
	}
	return false
}

// halfWidth counts half-width katakana, which text read in the wrong one of
// two Japanese encodings is full of.
func halfWidth(s string) (n int) {
	for _, r := range s {
		if 0xFF61 <= r && r <= 0xFF9F {
			n++
		}
	}
	return n
}

// legible makes decoded text safe to show and bounds it.
func legible(s string, cut bool) string {
	runes := make([]rune, 0, maxDecodedRunes+2)
	space := false
	for _, r := range s {
		switch {
		case r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			space = len(runes) > 0
			continue
		case unicode.Is(unicode.Cc, r):
			continue
		case unicode.Is(unicode.Cf, r) && r != '\u200C' && r != '\u200D':
			// Bidi controls, zero-width spaces, tags. The two joiners are
			// spelling in Persian and Indic scripts and in emoji.
			continue
		}
		if space {
			runes = append(runes, ' ')
			space = false
		}
		if runes = append(runes, r); len(runes) > maxDecodedRunes {
			cut = true
			break
		}
	}
	if cut {
		runes = append(runes[:min(len(runes), maxDecodedRunes-1)], '…')
	}
	return string(runes)
}
