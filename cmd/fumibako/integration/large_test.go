//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// memoryLimit is what a run may hold in memory, however much mail there is.
const memoryLimit = 100 << 20

// TestLargeMessage pulls one message of 200 MB.
func TestLargeMessage(t *testing.T) {
	const octets = 200 << 20
	d := startDovecot(t, dovecotOptions{})
	dir := d.maildir("taro")
	makeMaildir(t, dir)
	name := filepath.Join(dir, "cur", "1780000000.M1P1.test:2,S")
	f, err := os.Create(name)
	must(t, err)
	w := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprintf(w, "From: a@example.com\r\nTo: b@example.com\r\nSubject: large\r\nMessage-ID: <large@example.com>\r\n\r\n")
	r := rand.New(rand.NewPCG(50, 0))
	raw := make([]byte, 57)
	for n := 0; n < octets; n += 78 {
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		w.WriteString(base64.StdEncoding.EncodeToString(raw))
		w.WriteString("\r\n")
	}
	must(t, w.Flush())
	must(t, f.Close())
	chownAll(t, dir)
	for _, v := range variants {
		t.Run(v.protocol+"-"+v.format, func(t *testing.T) {
			c := newClient(t, v.format, account{protocol: v.protocol, port: d.port(v.protocol)})
			c.pull(1)
			demandExact(t, c, readServer(t, d, v.protocol, "taro"))
			c.run(0, "verify", "--json")
			c.nothingNew(1)
			for _, o := range c.runs {
				if o.peak > memoryLimit {
					t.Errorf("more than %d MB of memory: %s", memoryLimit>>20, o)
				}
			}
		})
	}
}

// TestLongLine pulls a message that is one line of 30 MB, by both protocols.
func TestLongLine(t *testing.T) {
	d := startDovecot(t, dovecotOptions{})
	dir := d.maildir("taro")
	makeMaildir(t, dir)
	octets := append([]byte("Subject: one line\r\n\r\nFrom "), bytes.Repeat([]byte("0123456789abcde."), 30<<16)...)
	octets = append(octets, "\r\n.\r\n..\r\nend\r\n"...)
	must(t, os.WriteFile(filepath.Join(dir, "cur", "1780000000.M1P1.test:2,S"), octets, 0o600))
	chownAll(t, dir)
	for _, v := range variants {
		t.Run(v.protocol+"-"+v.format, func(t *testing.T) {
			c := newClient(t, v.format, account{protocol: v.protocol, port: d.port(v.protocol)})
			c.pull(1)
			demandExact(t, c, readServer(t, d, v.protocol, "taro"))
			if peak := c.runs[0].peak; peak > memoryLimit {
				t.Errorf("%d MB of memory, at most %d are allowed", peak>>20, memoryLimit>>20)
			}
		})
	}
}
