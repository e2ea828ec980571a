//go:build integration

package integration

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy relays to a server, counts octets, and makes trouble when told to.
// Its fields may be changed while it works.
type proxy struct {
	port int

	rate  atomic.Int64 // octets a second from the server, over all connections; 0: no limit
	cut   atomic.Int64 // the next connection is cut after so many octets from the server, once; 0: never
	stall atomic.Int64 // the next connection falls silent after so many octets, once; 0: never

	fromServer, toServer, connections atomic.Int64

	watch sync.Mutex
	marks []mark
	said  []byte // the first octets that clients sent

	pace sync.Mutex
	next time.Time
}

// A mark is something to do once the server has sent so many octets in all.
type mark struct {
	octets int64
	do     func()
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port}
	var open sync.WaitGroup
	done := make(chan struct{})
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.relay(c, target, done) })
		}
	})
	t.Cleanup(func() {
		close(done)
		l.Close()
		open.Wait()
	})
	return p
}

// at calls do once the server has sent n octets from now on.
func (p *proxy) at(n int64, do func()) {
	p.watch.Lock()
	defer p.watch.Unlock()
	p.marks = append(p.marks, mark{p.fromServer.Load() + n, do})
}

// heard returns the first octets that clients sent.
func (p *proxy) heard() []byte {
	p.watch.Lock()
	defer p.watch.Unlock()
	return append([]byte(nil), p.said...)
}

// clear forgets every mark and limit.
func (p *proxy) clear() {
	p.watch.Lock()
	defer p.watch.Unlock()
	p.marks = nil
	p.rate.Store(0)
	p.cut.Store(0)
	p.stall.Store(0)
}

func (p *proxy) relay(client net.Conn, target string, done <-chan struct{}) {
	defer client.Close()
	p.connections.Add(1)
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	go func() {
		p.pump(server, client, &p.toServer, 0, 0, done)
		ended <- struct{}{}
	}()
	go func() {
		p.pump(client, server, &p.fromServer, p.cut.Swap(0), p.stall.Swap(0), done)
		ended <- struct{}{}
	}()
	select {
	case <-ended:
	case <-done:
	}
}

func (p *proxy) pump(dst, src net.Conn, total *atomic.Int64, cut, stall int64, done <-chan struct{}) {
	buf := make([]byte, 16<<10)
	var n int64
	for {
		k, err := src.Read(buf)
		octets := buf[:k]
		if stall > 0 && n+int64(k) > stall {
			dst.Write(octets[:stall-n])
			// Reading on would let the peer notice nothing; not reading lets
			// its buffers fill, as with a server that hangs.
			<-done
			return
		}
		if cut > 0 && n+int64(k) > cut {
			dst.Write(octets[:cut-n])
			return
		}
		n += int64(k)
		if total == &p.fromServer {
			p.slow(k)
		}
		if _, err := dst.Write(octets); err != nil {
			return
		}
		p.counted(total, octets)
		if err != nil {
			return
		}
	}
}

func (p *proxy) counted(total *atomic.Int64, octets []byte) {
	now := total.Add(int64(len(octets)))
	p.watch.Lock()
	defer p.watch.Unlock()
	if total != &p.fromServer {
		p.said = append(p.said, octets[:min(len(octets), 64<<10-len(p.said))]...)
		return
	}
	kept := p.marks[:0]
	for _, m := range p.marks {
		if m.octets > now {
			kept = append(kept, m)
			continue
		}
		go m.do()
	}
	p.marks = kept
}

// slow waits until k more octets are due at the set rate.
func (p *proxy) slow(k int) {
	rate := p.rate.Load()
	if rate <= 0 {
		return
	}
	p.pace.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(int64(k) * int64(time.Second) / rate))
	due := p.next
	p.pace.Unlock()
	time.Sleep(time.Until(due))
}
