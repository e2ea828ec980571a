//go:build unix && !linux

package mbox

import "golang.org/x/sys/unix"

var lockCommands = []int{unix.F_SETLK}
