package demo

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
)

// Mailboxes of the sample IMAP account besides INBOX.
const (
	sentMailbox  = "送信済み"
	quoteMailbox = "仕事/見積"
)

// The two addresses of the one person whose mail this is.
const (
	officeAddress = "taro@example.jp"
	shopAddress   = "yamada@shop.example.jp"
)

// A Letter is one sample message and where it lies.
type Letter struct {
	Mailbox string    // IMAP mailbox; "" in the POP3 maildrop
	Date    time.Time // INTERNALDATE, in Japan's zone
	Flags   []string
	Octets  []byte // as a server sends them
	UIDL    string // POP3 unique-id; "" for IMAP
}

// Letters returns the sample mail: that of an IMAP account with the mailboxes
// INBOX, 送信済み and 仕事/見積, and that of a POP3 maildrop. It is the same at
// every call, octet for octet, and each call makes new slices.
//
// Among the letters are what archives stumble over: one letter that reached
// both accounts by two roads, one that lies in two mailboxes, two different
// ones with one Message-ID, one without any, and one that is broken.
func Letters() (imap, pop []Letter) {
	return imapLetters(), popLetters()
}

var japan = time.FixedZone("", 9*60*60)

// at is a moment in 2026, Japanese time.
func at(month time.Month, day, hour, minute int) time.Time {
	return time.Date(2026, month, day, hour, minute, 0, 0, japan)
}

// A field is one header field, in the octets it is sent in.
type field struct{ name, value string }

// A part is one part of a multipart letter.
type part struct {
	mediaType string
	params    map[string]string
	encoding  string // content transfer encoding
	fileName  string // not empty: an attachment
	octets    []byte
}

func text(s string) part {
	return part{"text/plain", map[string]string{"charset": "utf-8"}, "base64", "", crlf(s)}
}

func html(s string) part {
	return part{"text/html", map[string]string{"charset": "utf-8"}, "quoted-printable", "", crlf(s)}
}

func attachment(mediaType, fileName string, octets []byte) part {
	return part{mediaType, nil, "base64", fileName, octets}
}

func (p part) header() message.Header {
	var h message.Header
	h.SetContentType(p.mediaType, p.params)
	h.Set("Content-Transfer-Encoding", p.encoding)
	if p.fileName != "" {
		h.SetContentDisposition("attachment", map[string]string{"filename": p.fileName})
	}
	return h
}

// compose writes a letter in UTF-8. With more than one part it is a multipart
// of the subtype, whose boundary depends on the fields alone.
func compose(fields []field, subtype string, parts ...part) []byte {
	var h message.Header
	if len(parts) == 1 {
		h = parts[0].header()
	} else {
		h.SetContentType("multipart/"+subtype, map[string]string{"boundary": boundary(fields)})
	}
	h.Set("MIME-Version", "1.0")
	// AddRaw puts a field before all others.
	for _, f := range slices.Backward(fields) {
		h.AddRaw([]byte(f.name + ": " + f.value + "\r\n"))
	}
	var letter bytes.Buffer
	w := must(message.CreateWriter(&letter, h))
	if len(parts) == 1 {
		must(w.Write(parts[0].octets))
	} else {
		for _, p := range parts {
			pw := must(w.CreatePart(p.header()))
			must(pw.Write(p.octets))
			must(0, pw.Close())
		}
	}
	must(0, w.Close())
	if !bytes.HasSuffix(letter.Bytes(), []byte("\r\n")) { // base64 ends without one
		letter.WriteString("\r\n")
	}
	return letter.Bytes()
}

// boundary makes a multipart boundary of the letter's Message-ID.
func boundary(fields []field) string {
	for _, f := range fields {
		if f.name == "Message-ID" {
			return "=_" + strings.Trim(strings.ReplaceAll(f.value, "@", "."), "<>")
		}
	}
	return "=_fumibako-demo"
}

// raw writes a letter by hand: the header as given, an empty line, the body.
func raw(fields []field, body []byte) []byte {
	var letter bytes.Buffer
	for _, f := range fields {
		letter.WriteString(f.name + ": " + f.value + "\r\n")
	}
	letter.WriteString("\r\n")
	letter.Write(body)
	return letter.Bytes()
}

// iso2022jp writes a letter in ISO-2022-JP, 7-bit, the way Japanese mail
// programs did for thirty years.
func iso2022jp(fields []field, body string) []byte {
	fields = append(slices.Clone(fields),
		field{"MIME-Version", "1.0"},
		field{"Content-Type", "text/plain; charset=ISO-2022-JP"},
		field{"Content-Transfer-Encoding", "7bit"})
	return raw(fields, encode(japanese.ISO2022JP, string(crlf(body))))
}

// shiftJIS writes a letter in Shift_JIS, 8-bit.
func shiftJIS(fields []field, body string) []byte {
	fields = append(slices.Clone(fields),
		field{"MIME-Version", "1.0"},
		field{"Content-Type", "text/plain; charset=Shift_JIS"},
		field{"Content-Transfer-Encoding", "8bit"})
	return raw(fields, encode(japanese.ShiftJIS, string(crlf(body))))
}

// word is an encoded word (RFC 2047 §2). s must be short enough for one.
func word(charset, s string) string {
	octets := []byte(s)
	switch charset {
	case "ISO-2022-JP":
		octets = encode(japanese.ISO2022JP, s)
	case "Shift_JIS":
		octets = encode(japanese.ShiftJIS, s)
	}
	return "=?" + charset + "?B?" + base64.StdEncoding.EncodeToString(octets) + "?="
}

func encode(e encoding.Encoding, s string) []byte {
	return must(e.NewEncoder().Bytes([]byte(s)))
}

// crlf gives a text CRLF line ends and one at its end.
func crlf(s string) []byte {
	return []byte(strings.ReplaceAll(strings.TrimLeft(s, "\n"), "\n", "\r\n"))
}

// must is for steps that depend on nothing but this file: if one fails, so
// does the test that builds all letters.
func must[T any](v T, err error) T {
	if err != nil {
		panic("demo: " + err.Error())
	}
	return v
}

// pdf is a small document of one page that says what it is.
func pdf(line string) []byte {
	content := "BT /F1 18 Tf 72 720 Td (" + line + ") Tj ET"
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		"<< /Length " + decimal(len(content), 1) + " >>\nstream\n" + content + "\nendstream",
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var offsets []int
	for i, o := range objects {
		offsets = append(offsets, b.Len())
		b.WriteString(decimal(i+1, 1) + " 0 obj\n" + o + "\nendobj\n")
	}
	xref := b.Len()
	b.WriteString("xref\n0 6\n0000000000 65535 f \n")
	for _, o := range offsets {
		b.WriteString(decimal(o, 10) + " 00000 n \n")
	}
	b.WriteString("trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n" + decimal(xref, 1) + "\n%%EOF\n")
	return b.Bytes()
}

// decimal writes n with at least width digits.
func decimal(n, width int) string {
	var digits []byte
	for ; n > 0 || len(digits) < width; n /= 10 {
		digits = append(digits, byte('0'+n%10))
	}
	slices.Reverse(digits)
	return string(digits)
}
