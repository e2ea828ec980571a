package mbox

import "golang.org/x/sys/unix"

// lockCommands are tried in turn. A lock of the open file, which Linux has
// since 3.15, keeps out the same programs as a lock of the process, and does not
// vanish when this process closes another descriptor of the mbox, as it does
// after reading a message back.
var lockCommands = []int{unix.F_OFD_SETLK, unix.F_SETLK}
