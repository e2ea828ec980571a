//go:build integration

package integration

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// mailOptions say what fill writes. Equal options give equal mail.
type mailOptions struct {
	n         int
	seed      uint64
	first     int      // number of the first message: a later fill adds other messages
	median    int      // octets; sizes are log-normal around it
	mailboxes []string // true names, hierarchy by "/"; nil: INBOX alone
	oddities  bool     // also messages that break the rules of mail
	layoutFS  bool
}

// nested are mailboxes as people have them.
var nested = []string{"INBOX", "Sent", "Trash", "Archive/2019", "送信済み", "仕事/見積/二〇一九", "Work/Kunde & Co", "仕事"}

// fill writes made-up mail straight into the Maildir at dir, where Dovecot
// finds it.
func fill(t *testing.T, dir string, o mailOptions) {
	t.Helper()
	if o.median == 0 {
		o.median = 2500
	}
	names := o.mailboxes
	if names == nil {
		names = []string{"INBOX"}
	}
	made := map[string]bool{}
	r := rand.New(rand.NewPCG(o.seed, uint64(o.first)))
	var before []byte
	var beforeDate time.Time
	for i := o.first; i < o.first+o.n; i++ {
		name := names[i%len(names)]
		folder := serverFolder(dir, name, o.layoutFS)
		if !made[folder] {
			makeMaildir(t, folder)
			made[folder] = true
		}
		date := time.Unix(1_780_000_000-r.Int64N(10*365*86400), 0)
		octets := letter(r, i, o.median, date)
		switch {
		case o.oddities && i%40 == 7:
			octets = odd(i, octets)
		case i%50 == 49 && before != nil:
			// The same letter again, in the next mailbox or, where there is one
			// mailbox only, beside the first.
			octets = before
			if i%100 == 99 {
				date = beforeDate
			}
		}
		before, beforeDate = octets, date
		if i%3 == 0 {
			octets = bytes.ReplaceAll(octets, []byte("\r\n"), []byte("\n"))
		}
		plant(t, folder, i, octets, date, r)
	}
	chownAll(t, dir)
}

// serverFolder is where Dovecot keeps the mailbox name of the Maildir dir.
func serverFolder(dir, name string, layoutFS bool) string {
	if name == "INBOX" {
		return dir
	}
	if layoutFS {
		return filepath.Join(dir, filepath.FromSlash(encodeUTF7(name)))
	}
	return filepath.Join(dir, "."+strings.ReplaceAll(encodeUTF7(name), "/", "."))
}

func makeMaildir(t *testing.T, folder string) {
	t.Helper()
	for _, s := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(folder, s), 0o700))
	}
}

// plant writes one message file into folder.
func plant(t *testing.T, folder string, i int, octets []byte, date time.Time, r *rand.Rand) {
	t.Helper()
	wire := len(octets) + bytes.Count(octets, []byte("\n")) - bytes.Count(octets, []byte("\r\n"))
	flags := ""
	for _, f := range "FRS" {
		if r.IntN(2) == 0 {
			flags += string(f)
		}
	}
	name := fmt.Sprintf("%d.M%06dP1.test,S=%d,W=%d:2,%s", date.Unix(), i, len(octets), wire, flags)
	path := filepath.Join(folder, "cur", name)
	must(t, os.WriteFile(path, octets, 0o600))
	must(t, os.Chtimes(path, date, date))
}

func chownAll(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, mailUID, mailGID)
	}))
}

var japanese = []rune("受信メールサーバーの設定と見積依頼に関するお問い合わせありがとうございます納品請求書契約履歴バックアップ")

var english = strings.Fields("the quick mail server moved every message from one old account to another without losing a single byte of it")

// letter makes the i-th message, with CRLF line ends.
func letter(r *rand.Rand, i, median int, date time.Time) []byte {
	size := min(2_000_000, max(400, int(float64(median)*math.Exp(1.2*r.NormFloat64()))))
	inJapanese := r.IntN(5) < 2
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	day := date.UTC().Format(time.RFC1123Z)
	line("Return-Path: <sender%d@example.com>", i%997)
	line("Received: from mx%d.example.com by mail.example.jp;\r\n\t%s", i%7, day)
	line("From: =?UTF-8?B?5bGx55Sw5aSq6YOO?= <sender%d@example.com>", i%997)
	line("To: user@example.jp")
	if inJapanese {
		line("Subject: =?UTF-8?B?%s?=", base64.StdEncoding.EncodeToString([]byte(someRunes(r, 14))))
	} else {
		line("Subject: %s", someWords(r, 6))
	}
	line("Date: %s", day)
	if i%23 != 0 {
		line("Message-ID: <%d.%x@example.jp>", i, r.Uint64())
	}
	line("MIME-Version: 1.0")
	if size > 20_000 {
		attachment(r, line, size)
		return b.Bytes()
	}
	line("Content-Type: text/plain; charset=utf-8")
	line("Content-Transfer-Encoding: 8bit")
	line("")
	for b.Len() < size {
		text := someWords(r, 12)
		if inJapanese {
			text = someRunes(r, 24)
		}
		switch r.IntN(60) {
		case 0:
			text = "." + text
		case 1:
			text = "."
		case 2:
			text = "From " + text
		case 3:
			text = ">>From " + text
		case 4:
			line("")
			text = "From sender@example.com Thu Jan  1 00:00:00 2004"
		}
		line("%s", text)
	}
	return b.Bytes()
}

func attachment(r *rand.Rand, line func(string, ...any), size int) {
	boundary := fmt.Sprintf("b%016x", r.Uint64())
	line("Content-Type: multipart/mixed; boundary=%q", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=utf-8")
	line("")
	line("See attachment.")
	line("--%s", boundary)
	line("Content-Type: application/octet-stream; name=\"a.bin\"")
	line("Content-Transfer-Encoding: base64")
	line("")
	octets := make([]byte, 57)
	for n := 0; n < size; n += 78 {
		for k := range octets {
			octets[k] = byte(r.Uint32())
		}
		line("%s", base64.StdEncoding.EncodeToString(octets))
	}
	line("--%s--", boundary)
}

// odd turns a letter into one that breaks the rules, each in its own way. It
// still names i, so that no two are equal.
func odd(i int, octets []byte) []byte {
	mark := fmt.Sprintf("X-Odd: %d\r\n", i)
	switch (i / 40) % 8 {
	case 0: // a header without an empty line after it
		return []byte(mark + "Subject: no body at all\r\n")
	case 1: // no header
		return []byte(fmt.Sprintf("\r\nonly a body, %d\r\n", i))
	case 2: // no final line end
		return append([]byte(mark), bytes.TrimRight(octets, "\r\n")...)
	case 3: // several empty lines at the end
		return append(append([]byte(mark), octets...), "\r\n\r\n\r\n"...)
	case 4: // a NUL and octets that are no text
		return append([]byte(mark), append(octets, "nul \x00 and \xff\xfe \x1b$B\r\n"...)...)
	case 5: // a carriage return inside a line
		return append([]byte(mark), append(octets, "over\rwritten\r\n"...)...)
	case 6: // a header line that is none, and 8-bit octets in a header
		return append([]byte(mark+"this is not a field\r\nSubject: \x93\xfa\x96{\r\n"), octets...)
	default: // one very long line
		return append([]byte(mark), append(octets, strings.Repeat("long line ", 20_000)+"\r\n"...)...)
	}
}

func someRunes(r *rand.Rand, n int) string {
	out := make([]rune, n)
	for i := range out {
		out[i] = japanese[r.IntN(len(japanese))]
	}
	return string(out)
}

func someWords(r *rand.Rand, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = english[r.IntN(len(english))]
	}
	return strings.Join(out, " ")
}

var base64UTF7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// encodeUTF7 writes a mailbox name as RFC 3501 §5.1.3 does.
func encodeUTF7(name string) string {
	var b strings.Builder
	var pending []rune
	flush := func() {
		if len(pending) == 0 {
			return
		}
		var octets []byte
		for _, u := range utf16.Encode(pending) {
			octets = append(octets, byte(u>>8), byte(u))
		}
		b.WriteString("&" + base64UTF7.EncodeToString(octets) + "-")
		pending = nil
	}
	for _, c := range name {
		if c < 0x20 || c > 0x7e {
			pending = append(pending, c)
			continue
		}
		flush()
		if c == '&' {
			b.WriteByte('&')
			c = '-'
		}
		b.WriteRune(c)
	}
	flush()
	return b.String()
}

// decodeUTF7 is the reverse; a name that does not decode is returned as it is.
func decodeUTF7(name string) string {
	var b strings.Builder
	for rest := name; rest != ""; {
		before, after, found := strings.Cut(rest, "&")
		b.WriteString(before)
		if !found {
			break
		}
		code, after, found := strings.Cut(after, "-")
		if !found {
			return name
		}
		rest = after
		if code == "" {
			b.WriteByte('&')
			continue
		}
		octets, err := base64UTF7.DecodeString(code)
		if err != nil || len(octets)%2 != 0 {
			return name
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
	return b.String()
}
