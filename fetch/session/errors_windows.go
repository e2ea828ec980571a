package session

import "golang.org/x/sys/windows"

// Winsock has numbers of its own; the E… constants of package syscall never
// come out of a socket on Windows.
var (
	errnoRefused = []error{windows.WSAECONNREFUSED}
	errnoReset   = []error{windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAESHUTDOWN}
)
