package session

import (
	"crypto/tls"
	"net"
	"time"
)

// Trace is a set of functions that are called while a session is opened and
// used, as net/http/httptrace does it. Each may be nil. They must be quick and
// may be called from the session's own goroutines.
type Trace struct {
	DNSDone      func(host string, addrs []net.IPAddr, err error)
	ConnectDone  func(addr string, d time.Duration, err error)
	TLSDone      func(state tls.ConnectionState, err error)
	Greeting     func(line string)
	Capabilities func(caps []string, afterLogin bool)
	Auth         func(mechanism string, err error)
	Command      func(masked string) // each command line as sent, secrets masked
	Octets       func(read, written int64)
}
