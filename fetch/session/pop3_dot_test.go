package session

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// stuff is the writing side by RFC 1939 §3: an octet-true server sends exactly
// this. A message that does not end in CRLF gets one.
func stuff(msg []byte) []byte {
	var out []byte
	start := true
	for i, b := range msg {
		if start && b == '.' {
			out = append(out, '.')
		}
		out = append(out, b)
		start = b == '\n' && i > 0 && msg[i-1] == '\r'
	}
	if len(msg) > 0 && !bytes.HasSuffix(msg, []byte("\r\n")) {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...)
}

func ended(msg []byte) []byte {
	if len(msg) > 0 && !bytes.HasSuffix(msg, []byte("\r\n")) {
		return append(bytes.Clone(msg), "\r\n"...)
	}
	return msg
}

// pieces of text in which everything that matters to the reader is frequent.
func message() *rapid.Generator[[]byte] {
	piece := rapid.SampledFrom([]string{".", "..", "\r\n", "\n", "\r", "\r\r\n", "\r\n.", "\r\n..", "\n.\n", "\n.\r\n", "a", "text", "\x00", "\xff", "+OK", "-ERR"})
	return rapid.Map(rapid.SliceOf(piece), func(p []string) []byte {
		var b []byte
		for _, s := range p {
			b = append(b, s...)
		}
		return b
	})
}

func TestDotReaderIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		msg := message().Draw(t, "message")
		wire := append(stuff(msg), "+OK next\r\n"...)
		var r io.Reader = bytes.NewReader(wire)
		if rapid.Bool().Draw(t, "one octet at a time") {
			r = iotest.OneByteReader(r)
		}
		br := bufio.NewReaderSize(r, rapid.SampledFrom([]int{16, 17, 64, connBuffer}).Draw(t, "buffer"))
		d := newDotReader(br, false)
		var out io.Reader = d
		if rapid.Bool().Draw(t, "into one octet") {
			out = iotest.OneByteReader(d)
		}
		got, err := io.ReadAll(out)
		if err != nil || !bytes.Equal(got, ended(msg)) {
			t.Fatalf("got %q, %v; want %q", got, err, ended(msg))
		}
		if rest, _ := io.ReadAll(br); string(rest) != "+OK next\r\n" {
			t.Fatalf("left %q behind the message", rest)
		}
		if d.n != int64(len(got)) || d.raw != int64(len(wire)-len("+OK next\r\n")) {
			t.Fatalf("counted %d octets of %d, %d raw", d.n, len(got), d.raw)
		}
	})
}

// A message that is cut anywhere is never complete.
func TestDotReaderCut(t *testing.T) {
	t.Parallel()
	for _, msg := range []string{
		"", "a", ".", "a\r\n.\r\nb", "..\r\n", "a\r\n..b\r\n\r\n.", "a\r\nb\n.\nc\r\n", "\r\n.\r", "\n.\n",
	} {
		wire := stuff([]byte(msg))
		for cut := range len(wire) {
			for _, one := range []bool{false, true} {
				var r io.Reader = bytes.NewReader(wire[:cut])
				if one {
					r = iotest.OneByteReader(r)
				}
				d := newDotReader(bufio.NewReader(r), false)
				got, err := io.ReadAll(d)
				if err != io.ErrUnexpectedEOF || d.complete() {
					t.Errorf("%q cut at %d: %q, %v", wire, cut, got, err)
				}
				if !bytes.HasPrefix(ended([]byte(msg)), got) {
					t.Errorf("%q cut at %d: invented %q", wire, cut, got)
				}
			}
		}
	}
}

func TestDotReaderFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := io.MultiReader(bytes.NewReader([]byte("a\r\n.")), iotest.ErrReader(broken))
	got, err := io.ReadAll(newDotReader(bufio.NewReader(r), false))
	if string(got) != "a\r\n" || err != broken {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDotReader(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		wire string
		bare bool // the status line ended in a bare LF
		want string
		rest string
		err  error
	}{
		{name: "empty", wire: ".\r\nX", want: "", rest: "X"},
		{name: "stuffed end", wire: "..\r\n.\r\nX", want: ".\r\n", rest: "X"},
		{name: "dot and CR", wire: ".\rX\r\n.\r\nX", want: "\rX\r\n", rest: "X"},
		{name: "dot and CRCRLF", wire: ".\r\r\n.\r\nX", want: "\r\r\n", rest: "X"},
		{name: "bare LF dot in a CRLF message", wire: "a\n.\nb\r\n.\r\nX", want: "a\n.\nb\r\n", rest: "X"},
		{name: "bare LF dot CRLF", wire: "a\n.\r\nb\r\n.\r\nX", want: "a\n.\r\nb\r\n", rest: "X"},
		{name: "CRLF dot bare LF", wire: "a\r\n.\nb\r\n.\r\nX", want: "a\r\n\nb\r\n", rest: "X"},
		{name: "bare LF dot as the first line", wire: ".\nb\r\n.\r\nX", want: "\nb\r\n", rest: "X"},
		{name: "dots behind a bare LF stay", wire: "a\n..b\r\n.\r\n", want: "a\n..b\r\n"},
		{name: "all bare", wire: "a\n..b\n.\nX", bare: true, want: "a\n.b\n", rest: "X"},
		{name: "all bare and empty", wire: ".\nX", bare: true, want: "", rest: "X"},
		{name: "bare until a CRLF", wire: "a\nb\r\nc\n.\n.\r\n.\r\nX", bare: true, want: "a\nb\r\nc\n.\n.\r\n", rest: "X"},
		{name: "all bare, then dot CRLF", wire: "a\n.\r\nb\r\n.\r\nX", bare: true, want: "a\n\r\nb\r\n", rest: "X"},
		{name: "bare status, CRLF end", wire: "a\r\n.\r\nX", bare: true, want: "a\r\n", rest: "X"},
		{name: "bare body under a CRLF status never ends", wire: "a\nb\n.\n", want: "a\nb\n.\n", err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, one := range []bool{false, true} {
				var r io.Reader = bytes.NewReader([]byte(test.wire))
				if one {
					r = iotest.OneByteReader(r)
				}
				br := bufio.NewReader(r)
				got, err := io.ReadAll(newDotReader(br, test.bare))
				rest, _ := io.ReadAll(br)
				if string(got) != test.want || string(rest) != test.rest || err != test.err {
					t.Errorf("one octet at a time %v: got %q, %v, rest %q; want %q, %v, rest %q",
						one, got, err, rest, test.want, test.err, test.rest)
				}
			}
		})
	}
}

// FuzzDotReader reads any octets: the reader takes no octet twice, invents
// none, and is complete only behind an end.
func FuzzDotReader(f *testing.F) {
	f.Add([]byte("a\r\n..b\r\n.\r\n+OK"), false)
	f.Add([]byte("a\n.\n"), true)
	f.Add([]byte(".\r\n"), true)
	f.Fuzz(func(t *testing.T, wire []byte, bare bool) {
		br := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(wire)), 16)
		d := newDotReader(br, bare)
		got, err := io.ReadAll(d)
		rest, _ := io.ReadAll(br)
		if d.complete() != (err == nil) {
			t.Fatalf("complete %v, error %v", d.complete(), err)
		}
		taken := wire[:len(wire)-len(rest)]
		if int64(len(taken)) != d.raw && err == nil {
			t.Fatalf("took %d octets, counted %d", len(taken), d.raw)
		}
		if err == nil {
			end := bytes.HasSuffix(taken, []byte("\r\n.\r\n")) || string(taken) == ".\r\n" ||
				bare && (bytes.HasSuffix(taken, []byte("\n.\n")) || string(taken) == ".\n")
			if !end {
				t.Fatalf("ended at %q", taken)
			}
		}
		// What came out is what went in without some dots.
		w := taken
		for _, b := range got {
			for len(w) > 0 && w[0] != b && w[0] == '.' {
				w = w[1:]
			}
			if len(w) == 0 || w[0] != b {
				t.Fatalf("%q came out of %q", got, taken)
			}
			w = w[1:]
		}
		// And any octets, sent as they should be, come back.
		again, err := io.ReadAll(newDotReader(bufio.NewReader(bytes.NewReader(stuff(wire))), false))
		if err != nil || !bytes.Equal(again, ended(wire)) {
			t.Fatalf("got %q, %v; want %q", again, err, ended(wire))
		}
	})
}

func BenchmarkDotReader(b *testing.B) {
	line := []byte("The quick brown fox jumps over the lazy dog, and then some more of it.\r\n")
	for _, dots := range []int{0, 20} { // every how many lines one begins with a dot
		b.Run(fmt.Sprint("dots=", dots), func(b *testing.B) {
			var msg []byte
			for i := range 20000 {
				if dots > 0 && i%dots == 0 {
					msg = append(msg, '.')
				}
				msg = append(msg, line...)
			}
			wire := stuff(msg)
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(msg)))
			src := bytes.NewReader(wire)
			br := bufio.NewReaderSize(src, connBuffer)
			for b.Loop() {
				src.Reset(wire)
				br.Reset(src)
				d := newDotReader(br, false)
				for {
					if _, err := d.Read(buf); err != nil {
						break
					}
				}
				if !d.complete() {
					b.Fatal(d.err)
				}
			}
		})
	}
}
