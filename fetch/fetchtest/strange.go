package fetchtest

import (
	"bytes"
	"strings"
)

// An Odd is a message with one strangeness, named for it.
type Odd struct {
	Name   string
	Octets []byte
}

// Strange returns messages that break readers, one strangeness each, all of
// them seen in real mail. Each call makes new slices. None is empty.
func Strange() []Odd {
	const head = "From: hanako@example.jp\r\nTo: taro@example.jp\r\nSubject: odd\r\n" +
		"Date: Mon, 06 Apr 2026 09:00:00 +0900\r\nMessage-ID: <odd@example.jp>\r\n"
	messages := []struct{ name, octets string }{
		{"plain", head + "\r\nHello.\r\n"},
		{"header-only", head},
		{"header-only-empty-line", head + "\r\n"},
		{"no-header", "\r\nJust a body.\r\n"},
		{"no-empty-line-after-bad-header-line", head + "this line is no header field\r\nand neither is this\r\n"},
		{"bad-header-line", head + "this line is no header field\r\nX-After: it\r\n\r\nBody.\r\n"},
		{"from-line-first", "From hanako@example.jp Mon Apr  6 09:00:00 2026\r\n" + head + "\r\nBody.\r\n"},
		{"body-from-line", head + "\r\nFrom here on it is body.\r\n>From too.\r\n"},
		{"nul", head + "\r\nbefore\x00after\r\n\x00\r\n"},
		{"nul-in-header", "X-Nul: a\x00b\r\n" + head + "\r\nBody.\r\n"},
		{"eight-bit-header", "Subject: \x8c\xa9\x90\xcf\x8f\x91\r\n" + head + "\r\nBody.\r\n"},
		{"utf8-header", "X-Name: 見積書\r\n" + head + "\r\n本文\r\n"},
		{"every-octet", head + "\r\n" + everyOctet() + "\r\n"},
		{"bare-lf", "From: a@example.jp\nSubject: bare\n\nline\nline\n"},
		{"bare-lf-in-body", head + "\r\none\ntwo\r\nthree\n"},
		{"bare-cr", head + "\r\none\rtwo\r\rthree\r\n"},
		{"final-cr", head + "\r\nends in CR\r"},
		{"cr-cr-lf", head + "\r\none\r\r\ntwo\r\n"},
		{"no-final-line-end", head + "\r\nno line end"},
		{"many-final-line-ends", head + "\r\nbody\r\n\r\n\r\n\r\n"},
		{"leading-dots", head + "\r\n.\r\n..\r\n...dots\r\n.a\r\n"},
		{"dot-first", ".\r\n" + head + "\r\nbody\r\n"},
		{"dot-last", head + "\r\nbody\r\n."},
		{"dot-after-bare-lf", head + "\r\nbody\n.\nmore\n.\r\nstill more\r\n.\nand more\r\n"},
		{"dot-after-bare-cr", head + "\r\nbody\r.\r\nmore\r\n"},
		{"looks-like-imap", head + "\r\n)\r\nA1 OK FETCH completed\r\n* BYE\r\n{5}\r\n* 1 FETCH (UID 1 BODY[] {3}\r\n"},
		{"looks-like-pop3", head + "\r\n+OK 5 octets\r\n-ERR no\r\n.\r\nQUIT\r\n"},
		{"long-line", head + "\r\n" + strings.Repeat("x", 200_000) + "\r\n"},
		{"long-header-line", "X-Long: " + strings.Repeat("y", 70_000) + "\r\n" + head + "\r\nbody\r\n"},
		{"many-lines", head + "\r\n" + strings.Repeat("\r\n", 5_000)},
		{"one-octet", "x"},
		{"one-dot", "."},
		{"one-line-end", "\r\n"},
		{"only-nul", "\x00\x00\x00"},
		{"bom", "\xef\xbb\xbf" + head + "\r\nbody\r\n"},
		{"no-message-id", "From: a@example.jp\r\nSubject: none\r\n\r\nbody\r\n"},
		{"two-message-ids", head + "Message-ID: <other@example.jp>\r\n\r\nbody\r\n"},
		{"folded-message-id", "Message-ID:\r\n <folded@example.jp>\r\nFrom: a@example.jp\r\n\r\nbody\r\n"},
		{"colon-only", ":\r\n: \r\n" + head + "\r\nbody\r\n"},
		{"space-first", " continued from nothing\r\n" + head + "\r\nbody\r\n"},
	}
	odd := make([]Odd, len(messages))
	for i, m := range messages {
		odd[i] = Odd{m.name, []byte(m.octets)}
	}
	return odd
}

func everyOctet() string {
	var b bytes.Buffer
	for i := range 256 {
		b.WriteByte(byte(i))
	}
	return b.String()
}
