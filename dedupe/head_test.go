package dedupe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The letter most messages in testdata are made of.
var (
	letter = Head{
		MessageID: "1@example.jp", Date: "Mon, 1 Jan 2001 10:00:00 +0900",
		From: "taro@example.jp", To: "hanako@example.jp", Subject: "test",
	}
	hop = "from a.example.jp by b.example.jp; Tue, 2 Jan 2001 10:00:00 +0900 (JST)"
)

func letterWith(change func(*Head)) Head {
	h := letter
	change(&h)
	return h
}

func withID(id string) Head             { return letterWith(func(h *Head) { h.MessageID = id }) }
func withSubject(s string) Head         { return letterWith(func(h *Head) { h.Subject = s }) }
func withReceived(received string) Head { return letterWith(func(h *Head) { h.Received = received }) }
func withDate(date string) Head         { return letterWith(func(h *Head) { h.Date = date }) }

// strangeMessages has one entry for each file in testdata.
var strangeMessages = []struct {
	name    string
	head    Head
	when    string // source
	content bool   // Content is defined
}{
	{"plain", withReceived(hop), "received", true},
	{"empty", Head{}, "", false},
	{"one-octet", Head{}, "", false},
	{"byte-order-mark", letter, "date", true},
	{"from-line", letter, "date", true},
	{"from-lines-quoted", letter, "date", true},
	{"junk-line-first", letter, "date", true},
	{"junk-line-in-the-middle", letter, "date", true},
	{"junk-line-continued", letter, "date", true},
	{"continuation-first", letter, "date", true},
	{"body-in-header", withID(""), "date", true},
	{"first-line-empty", Head{}, "", false},
	{"no-empty-line", letter, "date", false},
	{"no-line-end", letter, "date", false},
	{"header-only", letter, "date", false},
	{"body-only", Head{}, "", false},
	{"body-of-line-ends", letter, "date", false},
	{"line-ends-lf", letter, "date", true},
	{"line-ends-mixed", letter, "date", true},
	{"line-ends-cr", Head{From: "taro@example.jp\rTo: hanako@example.jp\rSubject: test\rDate: Mon, 1 Jan 2001 10:00:00 +0900\rMessage-ID: <1@example.jp>\r\rbody"}, "", false},
	{"cr-before-crlf", letter, "date", true},
	{"lone-cr", letter, "date", true},
	{"lone-cr-in-subject", withSubject("te\rst"), "date", true},
	{"cr-at-the-end", letter, "date", true},
	{"nul-in-header", letterWith(func(h *Head) { h.MessageID, h.Subject = "1\x80@example.jp", "te\x80st" }), "date", true},
	{"nul-in-body", letter, "date", true},
	{"message-id-missing", withID(""), "date", true},
	{"message-id-empty", withID(""), "date", true},
	{"message-id-empty-brackets", withID(""), "date", true},
	{"message-id-folded", letter, "date", true},
	{"message-id-folded-inside", withID("a-very-long-part@example.jp"), "date", true},
	{"message-id-8bit", withID("\x93\xfa\x96{@example.jp"), "date", true},
	{"message-id-repeated", letter, "date", true},
	{"message-id-no-brackets", letter, "date", true},
	{"message-id-not-closed", letter, "date", true},
	{"message-id-comment", letter, "date", true},
	{"message-id-in-capitals", withID("ABC@EXAMPLE.JP"), "date", true},
	{"message-id-no-at", withID("[1:2]"), "date", true},
	{"field-name-with-space", letter, "date", true},
	{"field-name-8bit", letter, "date", true},
	{"field-name-empty", letter, "date", true},
	{"field-without-space", letter, "date", true},
	{"fold-of-white-space-only", withSubject("te \t  st"), "date", true},
	{"subject-repeated", withSubject("first"), "date", true},
	{"subject-raw-shift-jis", withSubject("\x93\xfa\x96{\x8c\xea\x82\xcc\x8c\x8f\x96\xbc"), "date", true},
	{"subject-raw-iso-2022-jp", withSubject("\x1b$BF|K\\8l$N7oL>\x1b(B"), "date", true},
	{"received-without-date", withReceived(hop), "received", true},
	{"received-none-dated", withReceived("first"), "date", true},
	{"received-several", withReceived(hop), "received", true},
	{"received-folded", withReceived("from a.example.jp\tby b.example.jp;\tTue, 2 Jan 2001 10:00:00 +0900"), "received", true},
	{"date-unreadable", withDate("平成13年1月1日"), "", true},
	{"date-two-digit-year", withDate("1 Jan 01 10:00 JST"), "date", true},
}

func TestStrangeMessages(t *testing.T) {
	known := map[string]bool{}
	h := NewHasher()
	for _, test := range strangeMessages {
		known[test.name+".eml"] = true
		t.Run(test.name, func(t *testing.T) {
			message, err := os.ReadFile(filepath.Join("testdata", test.name+".eml"))
			if err != nil {
				t.Fatal(err)
			}
			h.Reset()
			h.Write(message)
			f, head := h.Sum()
			if diff := cmp.Diff(test.head, head); diff != "" {
				t.Errorf("head (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(head, ScanHead(message)); diff != "" {
				t.Errorf("ScanHead (-Hasher +ScanHead):\n%s", diff)
			}
			if _, source, _ := head.When(); source != test.when {
				t.Errorf("date from %q, want %q", source, test.when)
			}
			if got := f.Content != f.Canonical; got != test.content {
				t.Errorf("Content defined: %v, want %v", got, test.content)
			}
			if want := refFingerprint(message); f != want {
				t.Error("fingerprint differs from its definition")
			}
			h.Reset()
			for i := range message {
				h.Write(message[i : i+1])
			}
			if f1, head1 := h.Sum(); f1 != f || head1 != head {
				t.Error("octet by octet the message is another")
			}
		})
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file.Name(), ".eml") && !known[file.Name()] {
			t.Errorf("testdata/%s has no entry in the table", file.Name())
		}
	}
}

// A header that has swallowed the beginning of a body must not make two
// letters one.
func TestContentOfSwallowedBody(t *testing.T) {
	a, err := os.ReadFile("testdata/body-in-header.eml")
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Replace(a, []byte("cake"), []byte("wine"), 1)
	if bytes.Equal(a, b) || fingerprint(a).Content == fingerprint(b).Content {
		t.Error("two letters have one Content")
	}
}

func TestScanHeadBounds(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	h := ScanHead([]byte("Subject: " + long + "\r\nFrom: a\r\n\r\n"))
	if n := len(h.Subject); n != maxHeader-len("Subject: ") {
		t.Errorf("Subject of %d octets is kept", n)
	}
	if h.From != "" {
		t.Errorf("From = %q was read beyond the bound", h.From)
	}
	if h := ScanHead([]byte("Message-ID: <" + long + ">\r\n\r\n")); len(h.MessageID) != maxMessageID {
		t.Errorf("Message-ID of %d octets is kept", len(h.MessageID))
	}
}

func TestNormalizeMessageID(t *testing.T) {
	for _, test := range []struct{ name, raw, want string }{
		{"plain", "<1@example.jp>", "1@example.jp"},
		{"pasted without brackets", " 1@example.jp ", "1@example.jp"},
		{"nothing", "", ""},
		{"white space", " \t\n", ""},
		{"empty brackets", "<>", ""},
		{"empty brackets, then another", "<> <2@a>", ""},
		{"two", "<1@a> <2@a>", "1@a"},
		{"bracket in a comment before", "(<-) <1@a>", "-)1@a"},
		{"case kept", "<AbC@Ex>", "AbC@Ex"},
		{"8-bit kept", "<\xe9\x80@a>", "\xe9\x80@a"},
		{"space inside", "<1 2\t3@a>", "123@a"},
		{"fold inside", "<1\n 2@a>", "12@a"},
		{"controls inside", "<1\x1b\x7f2@a>", "12@a"},
		{"NUL", "<1\x002@a>", "1\x802@a"},
		{"doubled brackets", "<<1@a>>", "1@a"},
		{"bracket inside", "<1<2@a>", "12@a"},
		{"not closed", "< 1@a b", "1@a"},
		{"not opened", "1@a> b", "1@a"},
		{"quoted local part", `<"1 2"@a>`, `"12"@a`},
		{"encoded word", "=?utf-8?q?1?= x", "=?utf-8?q?1?="},
		{"as long as a line", "<" + strings.Repeat("i", 998) + ">", strings.Repeat("i", 998)},
		{"longer than a line", "<" + strings.Repeat("i", 999) + ">", strings.Repeat("i", 998)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := NormalizeMessageID(test.raw); got != test.want {
				t.Errorf("NormalizeMessageID(%q) = %q, want %q", test.raw, got, test.want)
			}
		})
	}
}

func TestNormalizeMessageIDIsStable(t *testing.T) {
	piece := rapid.SampledFrom([]string{"<", ">", " ", "\t", "\n", "\x00", "\x7f", "(", "\"", "a", "B", "@", "\xe9", "あ"})
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(piece, 0, 20).Draw(t, "pieces"), "")
		once := NormalizeMessageID(raw)
		if twice := NormalizeMessageID(once); twice != once {
			t.Fatalf("%q becomes %q, then %q", raw, once, twice)
		}
		if again := NormalizeMessageID("<" + once + ">"); again != once {
			t.Fatalf("%q becomes %q, in brackets %q", raw, once, again)
		}
	})
}

// What a server adds to a header on the way must not hide a field.
func TestScanHeadOfAnyHeader(t *testing.T) {
	other := rapid.SampledFrom([]string{
		"X-A: b\r\n", "Received: x\r\n y\r\n", "no field\r\n", "From x\r\n", "\xff\xfe: \x00\r\n", ": x\r\n", "X-Message-ID: <2@a>\r\n",
		"X: \r\n\t\r\n", "Message-IDs: <3@a>\r\n", "Reply-To: q\r\n",
	})
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		add := func() {
			for _, s := range rapid.SliceOfN(other, 0, 4).Draw(t, "others") {
				b.WriteString(s)
			}
		}
		for _, field := range rapid.Permutation([]string{"Message-ID: <1@a>", "Subject: s", "From: f", "Date: d", "To: t", "CC: c"}).Draw(t, "fields") {
			add()
			b.WriteString(field + "\r\n")
		}
		add()
		b.WriteString("\r\nSubject: in the body\r\n")
		got := ScanHead([]byte(b.String()))
		got.Received = ""
		if want := (Head{MessageID: "1@a", Subject: "s", From: "f", Date: "d", To: "t", Cc: "c"}); got != want {
			t.Fatalf("head of %q = %+v", b.String(), got)
		}
	})
}
