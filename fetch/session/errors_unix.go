//go:build !windows

package session

import "syscall"

var (
	errnoRefused = []error{syscall.ECONNREFUSED}
	errnoReset   = []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED}
)
