//go:build !windows

package cli

// farewell does nothing where a terminal outlives its programs.
func (a *app) farewell() {}
