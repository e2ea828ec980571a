package dedupe

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func fingerprint(message []byte) Fingerprint {
	h := NewHasher()
	h.Write(message)
	f, _ := h.Sum()
	return f
}

// genMessage makes octets in which everything that the definitions speak of
// is frequent: line ends of all kinds, NUL, fields, folds, From_ lines.
func genMessage() *rapid.Generator[[]byte] {
	pieces := []string{
		"\r\n", "\r\n", "\r\n", "\n", "\n", "\r", "\r\r\n", "\r\n\r\n", "\n\n", "\x00", "\x80", " ", "\t", ":", "x",
		"From: a@example.jp", "from : b", "To: ", "Cc: c", "Subject: \x8a\xbf", "Subject: a\rb", "Date: Mon, 1 Jan 2001 10:00:00 +0900",
		"Message-ID: <1@example.jp>", "Message-ID:", "message-id: <>", "Content-Type: text/plain;\r\n\tcharset=utf-8",
		"Content-Transfer-Encoding: 8bit", "Received: from a by b; 1 Jan 2001 00:00:00 Z", "Received: nowhere", "X-Y: z",
		"From a@example.jp Mon Jan  1 10:00:00 2001", ">From x", "\xEF\xBB\xBF", "no field", "  folded", "body",
		strings.Repeat("long ", 200),
	}
	return rapid.Custom(func(t *rapid.T) []byte {
		var b []byte
		if rapid.Bool().Draw(t, "well formed") {
			b = append(b, "Received: from a by b; 1 Jan 2001 00:00:00 Z\r\nFrom: a\r\nDate: 1 Jan 2001 10:00:00 Z\r\n"...)
			if rapid.Bool().Draw(t, "id") {
				b = append(b, "Message-ID: <1@example.jp>\r\n"...)
			}
		}
		for _, p := range rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 40).Draw(t, "pieces") {
			b = append(b, p...)
		}
		return b
	})
}

func TestHasherEqualsReference(t *testing.T) {
	h := NewHasher()
	rapid.Check(t, func(t *rapid.T) {
		message := genMessage().Draw(t, "message")
		h.Reset()
		h.Write(message)
		got, head := h.Sum()
		if diff := cmp.Diff(refFingerprint(message), got); diff != "" {
			t.Fatalf("fingerprint of %q differs from its definition (-want +got):\n%s", message, diff)
		}
		if diff := cmp.Diff(ScanHead(message), head); diff != "" {
			t.Fatalf("head of %q differs (-ScanHead +Hasher):\n%s", message, diff)
		}
	})
}

func TestHasherAnyChunking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := genMessage().Draw(t, "message")
		whole := NewHasher()
		whole.Write(message)
		wantF, wantH := whole.Sum()

		h := NewHasher()
		h.Write([]byte("something before\r\n\x00\n\nbody"))
		h.Reset()
		before := bytes.Clone(message)
		for left := message; len(left) > 0; {
			n := rapid.IntRange(0, min(len(left), 50)).Draw(t, "chunk")
			if k, err := h.Write(left[:n]); k != n || err != nil {
				t.Fatalf("Write(%d octets) = %d, %v", n, k, err)
			}
			left = left[n:]
			if rapid.IntRange(0, 9).Draw(t, "sum in between") == 0 {
				sofar := message[:len(message)-len(left)]
				if got, _ := h.Sum(); got != refFingerprint(sofar) {
					t.Fatalf("Sum after %q is not its fingerprint", sofar)
				}
			}
		}
		if !bytes.Equal(message, before) {
			t.Fatal("Write changed its argument")
		}
		gotF, gotH := h.Sum()
		if gotF != wantF {
			t.Fatalf("fingerprint depends on chunks: %x, in one piece %x", gotF, wantF)
		}
		if gotH != wantH {
			t.Fatalf("head depends on chunks: %+v, in one piece %+v", gotH, wantH)
		}
	})
}

// A server that keeps one message gives it to POP3 and to IMAP clients with
// such differences (measured: 7 % of real mail).
func TestCanonicalOfOneStoredMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := genMessage().Draw(t, "message")
		var other []byte
		for _, c := range message {
			switch {
			case c == 0 && rapid.Bool().Draw(t, "NUL as 0x80"):
				c = 0x80
			case c == '\n':
				n := rapid.IntRange(0, 3).Draw(t, "CRs before LF")
				other = append(other, strings.Repeat("\r", n)...)
			}
			other = append(other, c)
		}
		for range rapid.IntRange(0, 3).Draw(t, "line ends added") {
			other = append(other, "\r\n"...)
		}
		a, b := fingerprint(message), fingerprint(other)
		if a.Canonical != b.Canonical {
			t.Errorf("Canonical of %q and %q differ", message, other)
		}
		if a.Content != b.Content {
			t.Errorf("Content of %q and %q differ", message, other)
		}
		if ha, hb := ScanHead(message), ScanHead(other); ha != hb {
			t.Errorf("heads of %q and %q differ: %+v, %+v", message, other, ha, hb)
		}
	})
}

func TestCanonical(t *testing.T) {
	for _, test := range []struct {
		name string
		a, b string
		same bool
	}{
		{"line end at the end", "a\r\n\r\nb", "a\r\n\r\nb\r\n", true},
		{"bare LF", "a\n\nb\nc", "a\r\n\r\nb\r\nc", true},
		{"CR before CRLF", "a\r\r\r\nb", "a\r\nb", true},
		{"NUL", "a\x00b", "a\x80b", true},
		{"lone CR", "a\rb", "a\r\nb", false},
		{"lone CR dropped", "a\rb", "ab", false},
		{"CR at the very end, completed by a server", "a\r", "a\r\r\n", true},
		{"empty lines at the end", "a\r\n\r\n\r\n", "a", true},
		{"empty line within", "a\r\n\r\nb", "a\r\nb", false},
		{"space at the end of a line", "a \r\nb", "a\r\nb", false},
		{"space after the last line end", "a\r\n ", "a", false},
		{"nothing and line ends", "", "\r\n\n\r\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := fingerprint([]byte(test.a)), fingerprint([]byte(test.b))
			if (a.Canonical == b.Canonical) != test.same {
				t.Errorf("Canonical of %q and %q the same: %v, want %v", test.a, test.b, !test.same, test.same)
			}
			if a.Raw == b.Raw {
				t.Error("Raw is the same for different octets")
			}
		})
	}
}

func TestContentOneLetterByTwoRoads(t *testing.T) {
	const letter = "From: Taro <taro@example.jp>\r\nTo: hanako@example.jp\r\nSubject: =?utf-8?B?44GT?=\r\n =?utf-8?B?44KT?=\r\n" +
		"Date: Mon, 1 Jan 2001 10:00:00 +0900\r\nMessage-ID: <1@example.jp>\r\nContent-Type: text/plain; charset=utf-8\r\n"
	const body = "\r\nこんにちは\r\n"
	base := fingerprint([]byte(letter + body))
	for _, test := range []struct {
		name    string
		message string
		same    bool
	}{
		{"Received and Delivered-To", "Return-Path: <x@example.jp>\r\nDelivered-To: y\r\nReceived: from a\r\n by b; 1 Jan 2001\r\n" + letter + body, true},
		{"X- fields after", letter + "X-Spam-Status: No,\r\n score=1\r\nDKIM-Signature: v=1\r\n" + body, true},
		{"From_ line and BOM", "\xEF\xBB\xBFFrom taro Mon Jan  1 10:00:00 2001\r\n>From x\r\n" + letter + body, true},
		{"folded elsewhere", strings.Replace(letter, "?=\r\n =?", "?=\r\n\t=?", 1) + body, true},
		{"unfolded", strings.Replace(letter, "?=\r\n =?", "?= =?", 1) + body, true},
		{"field name in capitals", strings.Replace(letter, "Subject:", "SUBJECT :", 1) + body, true},
		{"order of fields", strings.Replace(letter[strings.Index(letter, "To:"):], "Date:", "From: Taro <taro@example.jp>\r\nDate:", 1) + body, true},
		{"LF line ends", strings.ReplaceAll(letter+body, "\r\n", "\n"), true},
		{"other body", letter + "\r\nさようなら\r\n", false},
		{"body longer by an empty line before", letter + "\r\n" + body, false},
		{"other subject", strings.Replace(letter, "=?utf-8?B?44KT?=", "=?utf-8?B?44KT4?=", 1) + body, false},
		{"other Message-ID", strings.Replace(letter, "<1@", "<2@", 1) + body, false},
		{"other date", strings.Replace(letter, "10:00", "10:01", 1) + body, false},
		{"other charset", strings.Replace(letter, "=utf-8\r\n", "=utf-7\r\n", 1) + body, false},
		{"with Content-Transfer-Encoding", letter + "Content-Transfer-Encoding: 8bit\r\n" + body, false},
		{"with an empty Cc", letter + "Cc:\r\n" + body, false},
		{"second To", letter + "To: jiro@example.jp\r\n" + body, false},
		{"line of the body in the header", letter + "Dear Hanako,\r\n" + body, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := fingerprint([]byte(test.message))
			if (got.Content == base.Content) != test.same {
				t.Errorf("Content the same: %v, want %v", !test.same, test.same)
			}
			if got.Content == got.Canonical {
				t.Error("Content is not defined")
			}
		})
	}
}

func TestContentNotDefined(t *testing.T) {
	for _, test := range []struct {
		name    string
		message string
		defined bool
	}{
		{"Message-ID and body", "Message-ID: <1@a>\r\n\r\nx", true},
		{"Date, From and body", "Date: x\r\nFrom: y\r\n\r\nx", true},
		{"bare Message-ID", "Message-ID: 1\r\n\r\nx", true},
		{"empty body", "Message-ID: <1@a>\r\nDate: x\r\nFrom: y\r\n\r\n", false},
		{"body of line ends", "Message-ID: <1@a>\r\n\r\n\r\n\n\r\r\n\r", false},
		{"no empty line", "Message-ID: <1@a>\r\nDate: x\r\nFrom: y\r\n", false},
		{"empty Message-ID", "Message-ID: <>\r\nFrom: y\r\n\r\nx", false},
		{"empty Date", "Date: \t\r\nFrom: y\r\n\r\nx", false},
		{"Date only", "Date: x\r\n\r\nx", false},
		{"first Message-ID empty", "Message-ID:\r\nMessage-ID: <1@a>\r\n\r\nx", false},
		{"header of 256 KiB", "Message-ID: <1@a>\r\nX: " + strings.Repeat("a", 256<<10-len("Message-ID: <1@a>\nX: \n")) + "\r\n\r\nx", true},
		{"header one octet longer", "Message-ID: <1@a>\r\nX: " + strings.Repeat("a", 256<<10-len("Message-ID: <1@a>\nX: ")) + "\r\n\r\nx", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fingerprint([]byte(test.message))
			if got := f.Content != f.Canonical; got != test.defined {
				t.Errorf("Content defined: %v, want %v", got, test.defined)
			}
			if want := refFingerprint([]byte(test.message)); f != want {
				t.Error("fingerprint differs from its definition")
			}
		})
	}
}

func TestThousandBodiesUnderOneHeader(t *testing.T) {
	seen := map[Digest]int{}
	h := NewHasher()
	for i := range 1000 {
		h.Reset()
		fmt.Fprintf(h, "From: a\r\nDate: b\r\nSubject: c\r\nMessage-ID: <1@a>\r\n\r\n%d\r\n", i)
		f, _ := h.Sum()
		if j, ok := seen[f.Content]; ok {
			t.Fatalf("bodies %d and %d have one Content", i, j)
		}
		seen[f.Content] = i
	}
}

func TestHeaderDigest(t *testing.T) {
	for _, test := range []struct{ name, header, body string }{
		{"CRLF", "A: b\r\n\r\n", "c\r\n"},
		{"LF", "A: b\n\n", "c\n\nd"},
		{"CRs in the empty line", "A: b\r\n\r\r\n", "c"},
		{"line of a space is not empty", "A: b\r\n \r\nC: d\r\n\r\n", "e"},
		{"first line empty", "\r\n", "A: b\r\n\r\nc"},
		{"NUL", "A: \x00\r\n\r\n", "c"},
		{"no body", "A: b\r\n\r\n", ""},
		{"no empty line", "A: b\r\nC: d", ""},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, want := fingerprint([]byte(test.header+test.body)).Header, fingerprint([]byte(test.header)).Raw; got != want {
				t.Errorf("Header is not the digest of %q", test.header)
			}
		})
	}
}

// Runs of octets that are held back must not be held in memory.
func TestHasherBoundedMemory(t *testing.T) {
	for _, test := range []struct {
		name   string
		repeat string
	}{
		{"CR", "\r"}, {"CRLF", "\r\n"}, {"LF", "\n"}, {"header without end", "a: b\r\n"}, {"fields of Content", "to:\n"}, {"one line", "x"}, {"NUL", "\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			chunk := bytes.Repeat([]byte(test.repeat), 128<<10/len(test.repeat))
			h := NewHasher()
			for range 4 {
				h.Write(chunk)
			}
			h.Write([]byte("end"))
			got, _ := h.Sum()
			message := append(bytes.Repeat(chunk, 4), "end"...)
			if got.Raw != sha256.Sum256(message) {
				t.Error("Raw differs from its definition")
			}
			if got.Canonical != sha256.Sum256(refCanonical(message)) || got.Content != got.Canonical {
				t.Error("Canonical or Content differs from its definition")
			}
			if n := cap(h.keep.octets) + cap(h.buf) + cap(h.scratch) + 12*cap(h.fields); n > 2<<20 {
				t.Errorf("the Hasher holds %d octets", n)
			}
		})
	}
}

func TestHasherAllocates(t *testing.T) {
	message := ordinaryMessage(16 << 10)
	h := NewHasher()
	n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.Write(message)
		h.Sum()
	})
	// The strings of the Head and the date of Received, and none for the hashes.
	if n > 16 {
		t.Errorf("%.0f allocations per message", n)
	}
}

func FuzzHasher(f *testing.F) {
	names, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(names) == 0 {
		f.Fatalf("no messages in testdata: %v", err)
	}
	for _, name := range names {
		message, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(message, uint16(7))
	}
	f.Add([]byte("A: b\r\n\r\n\x00\r\r\nx\r"), uint16(1))
	f.Fuzz(func(t *testing.T, message []byte, chunk uint16) {
		want := refFingerprint(message)
		h := NewHasher()
		for left := message; len(left) > 0; {
			n := min(len(left), int(chunk)+1)
			h.Write(left[:n])
			left = left[n:]
		}
		got, head := h.Sum()
		if got != want {
			t.Errorf("fingerprint differs from its definition")
		}
		if head != ScanHead(message) {
			t.Errorf("head differs")
		}
		head.When()
	})
}

// ordinaryMessage is a mail with a header of some 1.5 KB and a base64 body
// with CRLF line ends, at least size octets long.
func ordinaryMessage(size int) []byte {
	var b bytes.Buffer
	b.WriteString("Return-Path: <taro@example.jp>\r\nDelivered-To: hanako@example.jp\r\n")
	for i := range 4 {
		fmt.Fprintf(&b, "Received: from mx%d.example.jp (mx%d.example.jp [192.0.2.%d])\r\n\tby mail.example.jp (Postfix) with ESMTPS id 4F1C2D3E4A;\r\n\tMon, 01 Jan 2001 10:00:0%d +0900 (JST)\r\n", i, i, i, i)
	}
	b.WriteString("From: =?utf-8?B?5aSq6YOO?= <taro@example.jp>\r\nTo: hanako@example.jp\r\nSubject: =?utf-8?B?44GT44KT44Gr44Gh44Gv?=\r\n" +
		"Date: Mon, 01 Jan 2001 10:00:00 +0900\r\nMessage-ID: <20010101100000.4F1C2D3E4A@example.jp>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for b.Len() < size {
		b.WriteString("VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZy4gVGhlIHF1aWNr\r\n")
	}
	return b.Bytes()
}

func BenchmarkHasher(b *testing.B) {
	crlf := ordinaryMessage(1 << 20)
	small := ordinaryMessage(14 << 10)
	for _, bench := range []struct {
		name    string
		message []byte
	}{
		{"CRLF/1MB", crlf},
		{"CRLF/14kB", small},
		{"CRLF/4kB", ordinaryMessage(4 << 10)},
		{"LF/1MB", bytes.ReplaceAll(crlf, []byte("\r\n"), []byte("\n"))},
		{"NUL/1MB", append(bytes.Clone(crlf[:4096]), bytes.Repeat([]byte{0}, 1<<20)...)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.message)))
			b.ReportAllocs()
			h := NewHasher()
			for b.Loop() {
				h.Reset()
				for p := bench.message; len(p) > 0; {
					n := min(len(p), 32<<10)
					h.Write(p[:n])
					p = p[n:]
				}
				h.Sum()
			}
		})
	}
}
