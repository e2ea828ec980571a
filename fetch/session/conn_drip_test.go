package session

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestConnDrips reads from servers that are never silent for an IdleTimeout.
func TestConnDrips(t *testing.T) {
	for _, test := range []struct {
		name   string
		say    string
		every  time.Duration
		times  int
		pause  time.Duration // of the reader, after each line
		writes time.Duration // the client writes so often
		want   string
		after  time.Duration // 0: not looked at
	}{
		{name: "one octet in each idle period", say: "x", every: 119 * time.Second, times: 100, want: "network silent", after: 714 * time.Second},
		{name: "one octet in ten seconds", say: "x", every: 10 * time.Second, times: 1000, want: "network silent", after: 10 * time.Minute},
		{name: "one octet a second", say: "x", every: time.Second, times: 7200},
		{name: "it says that it is at work", say: "* OK still here\r\n", every: 119 * time.Second, times: 100},
		{name: "56 kbit/s", say: strings.Repeat("x", 700), every: 100 * time.Millisecond, times: 36000},
		{name: "the reader is slow", say: "x\r\n", every: time.Millisecond, times: 30, pause: time.Hour},
		{name: "a long upload", say: "x", every: 100 * time.Second, times: 30, writes: 10 * time.Second},
		{name: "silence behind a drip", say: "x", every: 100 * time.Second, times: 2, want: "network silent", after: 320 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				c := newConn(t.Context(), client, Server{})
				defer c.drop()
				defer server.Close()
				done := make(chan struct{})
				defer close(done)
				go func() {
					for range test.times {
						select {
						case <-time.After(test.every):
						case <-done:
							return
						}
						if _, err := io.WriteString(server, test.say); err != nil {
							return
						}
					}
					if test.want == "" {
						server.Close()
					}
				}()
				if test.writes > 0 {
					go io.Copy(io.Discard, server)
					go func() {
						for {
							select {
							case <-time.After(test.writes):
							case <-done:
								return
							}
							if _, err := c.Write([]byte("octets")); err != nil {
								return
							}
						}
					}()
				}
				start := time.Now()
				p := make([]byte, 4096)
				var err error
				for err == nil {
					_, err = c.Read(p)
					time.Sleep(test.pause)
				}
				if err == io.EOF {
					err = nil
				}
				if got := reason(err); got != test.want {
					t.Errorf("after %v: %v, want %q", time.Since(start), err, test.want)
				}
				if after := time.Since(start); test.after > 0 && after != test.after {
					t.Errorf("ended after %v, want %v", after, test.after)
				}
			})
		})
	}
}
