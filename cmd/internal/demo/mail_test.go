package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/unicode"

	"github.com/fumibako-mail/fumibako/dedupe"
)

func fingerprint(octets []byte) (dedupe.Fingerprint, dedupe.Head) {
	h := dedupe.NewHasher()
	h.Write(octets)
	return h.Sum()
}

func all() []Letter {
	imap, pop := Letters()
	return append(imap, pop...)
}

// withID returns the letters with that Message-ID.
func withID(letters []Letter, id string) []Letter {
	var found []Letter
	for _, l := range letters {
		if _, head := fingerprint(l.Octets); strings.Trim(head.MessageID, "<>") == id {
			found = append(found, l)
		}
	}
	return found
}

// TestLettersStayTheSame compares with a digest: the sample archive, its
// screenshots and its numbers in the manual rest on these octets. Whoever
// changes a letter changes the digest.
func TestLettersStayTheSame(t *testing.T) {
	sum := func() string {
		h := sha256.New()
		for _, l := range all() {
			io.WriteString(h, l.Mailbox+"\x00"+l.Date.String()+"\x00"+strings.Join(l.Flags, " ")+"\x00"+l.UIDL+"\x00")
			h.Write(l.Octets)
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	const want = "0ec1b83a08302eecd1a49745e74c1b2dfb8eb9d8c2b04c733195c808c125a402"
	if first, second := sum(), sum(); first != want || second != want {
		t.Errorf("digests %s, %s, want %s", first, second, want)
	}
}

func TestLettersCanBeServed(t *testing.T) {
	imap, pop := Letters()
	if len(imap) != 13 || len(pop) != 8 {
		t.Errorf("%d and %d letters", len(imap), len(pop))
	}
	count := make(map[string]int)
	for _, l := range imap {
		count[l.Mailbox]++
		if l.UIDL != "" {
			t.Errorf("an IMAP letter has the unique-id %q", l.UIDL)
		}
	}
	if count["INBOX"] == 0 || count[sentMailbox] == 0 || count[quoteMailbox] == 0 || len(count) != 3 {
		t.Errorf("mailboxes %v", count)
	}
	ids := make(map[string]bool)
	for _, l := range pop {
		if l.Mailbox != "" || len(l.Flags) > 0 || l.UIDL == "" || len(l.UIDL) > 70 || ids[l.UIDL] {
			t.Errorf("POP3 letter %+v", l.UIDL)
		}
		ids[l.UIDL] = true
	}
}

func TestWhatArchivesStumbleOver(t *testing.T) {
	imap, pop := Letters()
	t.Run("one letter by two roads", func(t *testing.T) {
		a, b := withID(imap, "notice.0302@example.jp"), withID(pop, "notice.0302@example.jp")
		if len(a) != 1 || len(b) != 1 {
			t.Fatalf("%d and %d letters", len(a), len(b))
		}
		fa, _ := fingerprint(a[0].Octets)
		fb, _ := fingerprint(b[0].Octets)
		if fa.Content != fb.Content || fa.Canonical == fb.Canonical {
			t.Error("Content must be equal and Canonical must differ")
		}
	})
	t.Run("one letter in two mailboxes", func(t *testing.T) {
		same := withID(imap, "estimate-2026-0219@print.example.jp")
		if len(same) != 2 || same[0].Mailbox == same[1].Mailbox || !bytes.Equal(same[0].Octets, same[1].Octets) || !same[0].Date.Equal(same[1].Date) {
			t.Errorf("%d letters", len(same))
		}
	})
	t.Run("two letters with one Message-ID", func(t *testing.T) {
		two := withID(imap, "notice@kotori.example.jp")
		if len(two) != 2 {
			t.Fatalf("%d letters", len(two))
		}
		a, _ := fingerprint(two[0].Octets)
		b, _ := fingerprint(two[1].Octets)
		if a.Content == b.Content {
			t.Error("they are one letter")
		}
	})
	t.Run("no Message-ID", func(t *testing.T) {
		var n int
		for _, l := range all() {
			if _, head := fingerprint(l.Octets); head.MessageID == "" {
				n++
			}
		}
		if n != 2 { // the scanned page, and the broken letter
			t.Errorf("%d letters", n)
		}
	})
	t.Run("broken", func(t *testing.T) {
		octets := broken()
		if bytes.Contains(octets, []byte("\r\n\r\n")) || bytes.IndexByte(octets, 0) < 0 ||
			!slices.ContainsFunc(octets, func(b byte) bool { return b >= 0x80 }) || bytes.IndexByte(octets, '\n') < 0 {
			t.Error("it is not broken enough")
		}
	})
	t.Run("no other two are one", func(t *testing.T) {
		content := make(map[dedupe.Digest]int)
		for _, l := range all() {
			f, _ := fingerprint(l.Octets)
			content[f.Content]++
		}
		if len(content) != len(all())-2 {
			t.Errorf("%d different letters of %d", len(content), len(all()))
		}
	})
}

func decoder(charset string) encoding.Encoding {
	switch strings.ToLower(charset) {
	case "iso-2022-jp":
		return japanese.ISO2022JP
	case "shift_jis":
		return japanese.ShiftJIS
	case "iso-8859-1":
		return charmap.ISO8859_1
	}
	return unicode.UTF8
}

// TestLettersCanBeRead decodes every letter but the broken one as a mail
// reader does and looks for text that did not survive.
func TestLettersCanBeRead(t *testing.T) {
	words := mime.WordDecoder{CharsetReader: func(charset string, r io.Reader) (io.Reader, error) {
		return decoder(charset).NewDecoder().Reader(r), nil
	}}
	charsets := make(map[string]int)
	for _, l := range all() {
		if bytes.Equal(l.Octets, broken()) {
			continue
		}
		e, err := message.Read(bytes.NewReader(l.Octets))
		if e == nil || err != nil && !message.IsUnknownCharset(err) {
			t.Fatalf("%q: %v", l.Octets[:60], err)
		}
		subject, err := words.DecodeHeader(e.Header.Get("Subject"))
		if err != nil || subject == "" || strings.ContainsRune(subject, '\uFFFD') {
			t.Errorf("subject %q, %v", subject, err)
		}
		for fields := e.Header.Fields(); fields.Next(); {
			for _, w := range strings.Fields(fields.Value()) {
				if strings.HasPrefix(w, "=?") && len(w) > 75 {
					t.Errorf("encoded word of %d octets in %s (RFC 2047 §2 allows 75)", len(w), subject)
				}
			}
		}
		err = e.Walk(func(_ []int, part *message.Entity, err error) error {
			if err != nil && !message.IsUnknownCharset(err) {
				return err
			}
			mediaType, params, err := part.Header.ContentType()
			if err != nil || !strings.HasPrefix(mediaType, "text/") || part.MultipartReader() != nil {
				return err
			}
			body, err := io.ReadAll(part.Body)
			if disposition, _, _ := part.Header.ContentDisposition(); err != nil || disposition == "attachment" {
				return err
			}
			charsets[strings.ToLower(params["charset"])]++
			if !strings.EqualFold(params["charset"], "utf-8") {
				body, err = decoder(params["charset"]).NewDecoder().Bytes(body)
			}
			if strings.ContainsRune(string(body), '\uFFFD') || len(body) == 0 {
				t.Errorf("%s: body %q", subject, body)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	for _, c := range []string{"iso-2022-jp", "shift_jis", "utf-8", "iso-8859-1", "us-ascii"} {
		if charsets[c] == 0 {
			t.Errorf("no letter in %s: %v", c, charsets)
		}
	}
}
