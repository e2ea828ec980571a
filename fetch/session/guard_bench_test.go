package session

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"
)

// repeated says the same for ever.
type repeated struct {
	b []byte
	i int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.b[r.i:])
	if r.i += n; r.i == len(r.b) {
		r.i = 0
	}
	return n, nil
}

func benchGuard(b *testing.B, ask, response string, perRun int64, buf int) {
	r := &repeated{b: bytes.Repeat([]byte(response), max(1, 1<<20/len(response)))}
	g := newGuard(newDeafConn(r), bufio.NewReaderSize(r, 64<<10))
	fmt.Fprintf(g, "T1 %s\r\n", ask)
	b.SetBytes(perRun)
	b.ReportAllocs()
	p := make([]byte, buf)
	for b.Loop() {
		for left := perRun; left > 0; {
			n, err := g.Read(p[:min(left, int64(len(p)))])
			if err != nil {
				b.Fatal(err)
			}
			left -= int64(n)
		}
	}
}

func BenchmarkGuardLists(b *testing.B) {
	line := "* 12345 FETCH (UID 123456 FLAGS (\\Seen \\Answered $Junk) RFC822.SIZE 14234)\r\n"
	benchGuard(b, askFlags, line, int64(len(line)), 4096)
}

func BenchmarkGuardBodies(b *testing.B) {
	for _, size := range []int{14_000, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			response := fmt.Sprintf("* 1 FETCH (UID 5 INTERNALDATE \"01-Feb-2003 04:05:06 +0900\" BODY[] {%d}\r\n%s)\r\n", size, bytes.Repeat([]byte("x"), size))
			benchGuard(b, askBodies, response, int64(len(response)), 32<<10)
		})
	}
}

var _ io.Reader = (*repeated)(nil)
