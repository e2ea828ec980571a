package session

import (
	"context"
	"net"
	"strconv"
	"time"
)

// nextAddress is how long one address may stay silent before the next is tried
// beside it (RFC 8305 §5 recommends 250 ms).
const nextAddress = 250 * time.Millisecond

// connect resolves s.Host and returns the first TCP connection that stands,
// trying all addresses within s.DialTimeout.
func connect(ctx context.Context, s Server) (net.Conn, error) {
	addrs, err := resolve(ctx, s)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()

	type result struct {
		nc  net.Conn
		err error
	}
	results := make(chan result) // unbuffered: a late connection is closed by its own goroutine
	started, failed := 0, 0
	start := func() {
		addr := net.JoinHostPort(addrs[started].String(), strconv.Itoa(s.Port))
		started++
		go func() {
			began := time.Now()
			nc, err := new(net.Dialer).DialContext(limited, "tcp", addr)
			if t := s.Trace; t != nil && t.ConnectDone != nil {
				t.ConnectDone(addr, time.Since(began), err)
			}
			select {
			case results <- result{nc, err}:
			case <-limited.Done():
				if nc != nil {
					nc.Close()
				}
			}
		}()
	}
	start()
	tick := time.NewTicker(nextAddress)
	defer tick.Stop()
	var first error
	for {
		select {
		case r := <-results:
			if r.err == nil {
				return r.nc, nil
			}
			failed++
			if first == nil {
				first = r.err
			}
			if failed == len(addrs) {
				return nil, orEnded(ctx, dialError(first))
			}
			if started < len(addrs) {
				start()
			}
		case <-tick.C:
			if started < len(addrs) {
				start()
			}
		case <-limited.Done():
			if first == nil || isTimeout(first) {
				first = limited.Err()
			}
			return nil, orEnded(ctx, dialError(first))
		}
	}
}

// resolve returns the addresses of s.Host in the resolver's order, IPv6 and
// IPv4 taking turns.
func resolve(ctx context.Context, s Server) ([]net.IPAddr, error) {
	limited, cancel := context.WithTimeout(ctx, s.DialTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupIPAddr(limited, s.Host)
	if t := s.Trace; t != nil && t.DNSDone != nil {
		t.DNSDone(s.Host, addrs, err)
	}
	if err != nil {
		return nil, orEnded(ctx, nameError(err))
	}
	if len(addrs) == 0 {
		return nil, failure(ClassName, "dns-not-found", nil)
	}
	return takeTurns(addrs), nil
}

// takeTurns orders addrs so that the families alternate, beginning with the
// family that the resolver prefers: a dead IPv6 then costs one turn, not all.
func takeTurns(addrs []net.IPAddr) []net.IPAddr {
	is4 := func(a net.IPAddr) bool { return a.IP.To4() != nil }
	var lead, rest []net.IPAddr
	for _, a := range addrs {
		if is4(a) == is4(addrs[0]) {
			lead = append(lead, a)
		} else {
			rest = append(rest, a)
		}
	}
	out := make([]net.IPAddr, 0, len(addrs))
	for i := range max(len(lead), len(rest)) {
		if i < len(lead) {
			out = append(out, lead[i])
		}
		if i < len(rest) {
			out = append(out, rest[i])
		}
	}
	return out
}

// orEnded returns ctx.Err() if ctx ended, else err.
func orEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
