package report

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"pgregory.net/rapid"
)

func encoded(t interface{ Fatal(...any) }, enc encoding.Encoding, s string) string {
	out, err := enc.NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wordB(label, octets string) string {
	return "=?" + label + "?B?" + base64.StdEncoding.EncodeToString([]byte(octets)) + "?="
}

func TestDecodeHeader(t *testing.T) {
	const text = "日本語の件名です"
	jis, sjis, euc := encoded(t, japanese.ISO2022JP, text), encoded(t, japanese.ShiftJIS, text), encoded(t, japanese.EUCJP, text)
	for _, test := range []struct{ name, raw, want string }{
		{"nothing", "", ""},
		{"ASCII", "Re: test <taro@example.jp>", "Re: test <taro@example.jp>"},
		{"UTF-8 B", wordB("UTF-8", text), text},
		{"UTF-8 Q", "=?utf-8?Q?=E6=97=A5_=e6=9c=ac?=", "日 本"},
		{"ISO-2022-JP", wordB("ISO-2022-JP", jis), text},
		{"ISO-2022-JP Q", "=?iso-2022-jp?Q?=1B$BF|K\\=1B(B?=", "日本"},
		{"Shift_JIS", wordB("Shift_JIS", sjis), text},
		{"EUC-JP", wordB("EUC-JP", euc), text},
		{"NEC row 13 and half-width kana in ISO-2022-JP", wordB("ISO-2022-JP", "\x1b$B-!\x1b(I6E\x1b(B"), "①ｶﾅ"},
		{"language", wordB("iso-2022-jp*ja", jis), text},
		{"address", wordB("ISO-2022-JP", jis) + " <taro@example.jp>", text + " <taro@example.jp>"},
		{"text before", "Re: " + wordB("UTF-8", text), "Re: " + text},
		{"two words", wordB("UTF-8", "日本") + "\r\n " + wordB("UTF-8", "語"), "日本語"},
		{"two words without space", wordB("UTF-8", "日本") + wordB("UTF-8", "語"), "日本語"},
		{"two charsets", wordB("UTF-8", text) + " " + wordB("ISO-2022-JP", jis), text + text},
		{"text between words", wordB("UTF-8", "日") + " x " + wordB("UTF-8", "本"), "日 x 本"},
		{"UTF-8 character split between words", wordB("UTF-8", text[:4]) + " " + wordB("UTF-8", text[4:]), text},
		{"ISO-2022-JP split without an escape", wordB("ISO-2022-JP", jis[:7]) + "\r\n " + wordB("iso-2022-jp", jis[7:]), text},
		{"no padding", strings.Replace(wordB("UTF-8", "日本a"), "=?=", "?=", 1), "日本a"},
		{"space in a word", "=?utf-8?Q?a b=20c?=", "a b c"},
		{"empty word", "a=?utf-8?Q??=b", "ab"},
		{"unknown coding", "=?utf-8?X?abc?=", "=?utf-8?X?abc?="},
		{"not closed", "=?utf-8?Q?abc", "=?utf-8?Q?abc"},
		{"word after what looks like one", "=? =?a =?utf-8?Q?b?=", "=? =?a b"},
		{"equals sign that is none", "=?utf-8?Q?a=ZZ=4?=", "a=ZZ=4"},
		{"unknown label, UTF-8", wordB("x-unknown", text), text},
		{"unknown label, Shift_JIS", wordB("default", sjis), text},
		{"wrong label", wordB("us-ascii", text), text},
		{"Shift_JIS called ISO-2022-JP", wordB("ISO-2022-JP", sjis), text},
		{"ISO-8859-1", "=?iso-8859-1?Q?M=FCller?=", "Müller"},

		{"raw UTF-8", text, text},
		{"raw UTF-8, cut off", text[:len(text)-1], text[:len(text)-3] + "\uFFFD"},
		{"raw UTF-8, damaged", "\xFF" + text, "\uFFFD" + text},
		{"raw ISO-2022-JP", jis, text},
		{"raw ISO-2022-JP, cut off", jis[:6], "日\uFFFD"},
		{"raw Shift_JIS", "Re: " + sjis, "Re: " + text},
		{"raw EUC-JP", "Re: " + euc, "Re: " + text},
		{"raw EUC-JP kana", encoded(t, japanese.EUCJP, "テスト"), "テスト"},
		{"raw ISO-8859-1 is not guessed", "M\xFCller", "M\uFFFDller"},
		{"raw and words", sjis + " " + wordB("UTF-8", text), text + " " + text},

		{"folded", "a\r\n b\r\n\tc", "a b c"},
		{"white space at the ends", " \ta ", "a"},
		{"line end in a word", "=?utf-8?Q?a=0D=0AVerdict:_complete?=", "a Verdict: complete"},
		{"terminal sequences", "=?utf-8?Q?=1B[2J=1B]0;x=07a?=\x1b[31mb\x9b", "[2J]0;xa[31mb\uFFFD"},
		{"C1 controls", "a\u009b31mb\u0085", "a31mb"},
		{"bidi controls", "a\u202Egpj.exe\u2066\u200F\u061C", "agpj.exe"},
		{"line separators", "a\u2028b\u2029c", "a b c"},
		{"invisible", "a\u200B\uFEFF\u00AD\U000E0041b\x00\x7f", "ab"},
		{"joiners stay", "👩\u200D💻", "👩\u200D💻"},
		{"full-width space stays", "山田\u3000太郎", "山田\u3000太郎"},

		{"500 runes", strings.Repeat("あ", 500), strings.Repeat("あ", 500)},
		{"501 runes", strings.Repeat("あ", 501), strings.Repeat("あ", 499) + "…"},
		{"invisible beyond the bound", "a" + strings.Repeat("\x00", 20<<10) + "b", "a…"},
		{"many words", strings.Repeat(wordB("UTF-8", "あ")+" ", 5000), strings.Repeat("あ", 499) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := DecodeHeader(test.raw); got != test.want {
				t.Errorf("DecodeHeader(%q)\n got %q\nwant %q", test.raw, got, test.want)
			}
		})
	}
}

func TestDecodeHeaderLabels(t *testing.T) {
	const text = "株式会社テスト①"
	for _, test := range []struct {
		enc    encoding.Encoding
		labels string
	}{
		{japanese.ISO2022JP, "iso-2022-jp ISO-2022-JP csISO2022JP iso-2022-jp-1 iso-2022-jp-2 iso-2022-jp-3 ISO-2022-JP-MS cp50220 cp50221 CP50222 iso2022jp"},
		{japanese.ShiftJIS, "shift_jis Shift-JIS sjis x-sjis cp932 CP932 ms932 windows-31j Windows-31J ms_kanji csShiftJIS"},
		{japanese.EUCJP, "euc-jp EUC-JP x-euc-jp eucJP eucJP-win cp51932"},
	} {
		octets := encoded(t, test.enc, text)
		for label := range strings.FieldsSeq(test.labels) {
			if got := DecodeHeader(wordB(label, octets)); got != text {
				t.Errorf("charset %s: %q, want %q", label, got, text)
			}
		}
	}
}

// checkLegible reports what makes s unfit for a line on a terminal.
func checkLegible(s string) string {
	if !utf8.ValidString(s) {
		return "not UTF-8"
	}
	if n := utf8.RuneCountInString(s); n > maxDecodedRunes {
		return "too long"
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return "control character"
		}
	}
	return ""
}

func TestDecodeHeaderIsLegible(t *testing.T) {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"=?", "?=", "utf-8", "iso-2022-jp", "Shift_JIS", "?B?", "?Q?", "=1B", "=0A", "\x1b$B", "\x1b(B", "\r\n ", "\x82\xa0", "\u202e", "あ"}),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		raw := strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "pieces"), "")
		if wrong := checkLegible(DecodeHeader(raw)); wrong != "" {
			t.Fatalf("DecodeHeader(%q) = %q: %s", raw, DecodeHeader(raw), wrong)
		}
	})
}

// What Japanese mail programs write is read, however it is divided into words.
func TestDecodeHeaderReadsWords(t *testing.T) {
	runes := rapid.SampledFrom([]rune("あいうえおアイウ日本語株式会社ー、。Abc1"))
	encodings := map[string]encoding.Encoding{"UTF-8": encoding.Nop, "ISO-2022-JP": japanese.ISO2022JP, "Shift_JIS": japanese.ShiftJIS, "EUC-JP": japanese.EUCJP}
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOfN(runes, 1, 40).Draw(t, "text"))
		label := rapid.SampledFrom([]string{"UTF-8", "ISO-2022-JP", "Shift_JIS", "EUC-JP"}).Draw(t, "charset")
		octets := encoded(t, encodings[label], text)
		var words []string
		for octets != "" {
			n := rapid.IntRange(1, len(octets)).Draw(t, "octets in the word")
			words = append(words, wordB(label, octets[:n]))
			octets = octets[n:]
		}
		raw := strings.Join(words, rapid.SampledFrom([]string{" ", "\r\n ", "\t", ""}).Draw(t, "gap"))
		if got := DecodeHeader(raw); got != text {
			t.Fatalf("DecodeHeader(%q) = %q, want %q", raw, got, text)
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?= <a@b>")
	f.Add("=?utf-8?Q?=E6=97?= =?utf-8?Q?=A5?=")
	f.Add("\x93\xfa\x96{ \x1b$BF|")
	f.Fuzz(func(t *testing.T, raw string) {
		if wrong := checkLegible(DecodeHeader(raw)); wrong != "" {
			t.Errorf("DecodeHeader(%q): %s", raw, wrong)
		}
	})
}
