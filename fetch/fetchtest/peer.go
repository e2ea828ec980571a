package fetchtest

import (
	"errors"
	"net"
	"sync"
)

// peer is what POP3, Script and Proxy are built on: a listener on loopback and
// the connections that Close cuts.
type peer struct {
	mu    sync.Mutex // also guards what the type around it keeps beside
	ln    net.Listener
	conns map[net.Conn]struct{}
}

// listen starts to accept connections on a free port of 127.0.0.1. Each is
// handed to accepted, one after the other.
func (p *peer) listen(accepted func(net.Conn)) (*net.TCPAddr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln != nil {
		return nil, errors.New("fetchtest: already listening")
	}
	ln, addr, err := listenLoopback()
	if err != nil {
		return nil, err
	}
	p.ln, p.conns = ln, make(map[net.Conn]struct{})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted(c)
		}
	}()
	return addr, nil
}

// close ends the listening and cuts every connection. It may be called twice.
func (p *peer) close() error {
	p.mu.Lock()
	if p.ln != nil {
		p.ln.Close()
	}
	var conns []net.Conn
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	closeAll(conns)
	return nil
}

// listenLoopback opens a listener on a free port of 127.0.0.1.
func listenLoopback() (net.Listener, *net.TCPAddr, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	return ln, ln.Addr().(*net.TCPAddr), nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}
