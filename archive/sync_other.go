//go:build !linux

package archive

import (
	"errors"
	"os"
	"runtime"
)

// openWhole: only Linux has a sync of one whole file system.
func openWhole(*os.Root) *os.File { return nil }

func syncFS(*os.File) error { return errors.ErrUnsupported }

// foreignFS: on Windows every file system is treated alike.
func foreignFS(*os.Root) bool { return runtime.GOOS == "windows" }
