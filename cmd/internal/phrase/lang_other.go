//go:build !windows && !darwin

package phrase

// System returns the language of the system's user interface, or "": here the
// environment is all there is.
func System() string { return "" }
