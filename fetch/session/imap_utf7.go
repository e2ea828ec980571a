package session

import (
	"encoding/base64"
	"unicode/utf16"
	"unicode/utf8"
)

// Modified UTF-7 (RFC 3501 §5.1.3).

var utf7Base64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeUTF7 decodes a mailbox name. It is lenient where the meaning is beyond
// doubt: adjacent shifts, and ASCII that need not have been encoded. ok is false
// where the octets are not modified UTF-7 at all.
func decodeUTF7(s string) (name string, ok bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c > 0x7e {
			return "", false
		}
		if c != '&' {
			out = append(out, c)
			continue
		}
		from := i + 1
		for i = from; i < len(s) && s[i] != '-'; i++ {
		}
		if i == len(s) {
			return "", false
		}
		if i == from {
			out = append(out, '&')
			continue
		}
		b, err := utf7Base64.DecodeString(s[from:i])
		if err != nil || len(b) == 0 || len(b)%2 != 0 {
			return "", false
		}
		for k := 0; k < len(b); k += 2 {
			r := rune(b[k])<<8 | rune(b[k+1])
			if utf16.IsSurrogate(r) {
				k += 2
				if k >= len(b) {
					return "", false
				}
				if r = utf16.DecodeRune(r, rune(b[k])<<8|rune(b[k+1])); r == utf8.RuneError {
					return "", false
				}
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return string(out), true
}

// encodeUTF7 encodes valid UTF-8 in the one canonical form.
func encodeUTF7(s string) string {
	var out []byte
	var shifted []byte // UTF-16BE
	flush := func() {
		if len(shifted) == 0 {
			return
		}
		out = append(out, '&')
		out = utf7Base64.AppendEncode(out, shifted)
		out = append(out, '-')
		shifted = shifted[:0]
	}
	for _, r := range s {
		if r >= 0x20 && r <= 0x7e {
			flush()
			out = append(out, byte(r))
			if r == '&' {
				out = append(out, '-')
			}
			continue
		}
		if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
			shifted = append(shifted, byte(r1>>8), byte(r1))
			r = r2
		}
		shifted = append(shifted, byte(r>>8), byte(r))
	}
	flush()
	return string(out)
}
