package config

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

const program = "fumibako"

// DefaultPath returns the configuration file of this user, which need not
// exist: fumibako/config.toml in the configuration folder of the system
// ($XDG_CONFIG_HOME or ~/.config, ~/Library/Application Support, %AppData%).
func DefaultPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &Error{Code: CodeNoHome, Args: safe.Args("variable", homeVariable(runtime.GOOS, "AppData")), Err: err}
	}
	return filepath.Join(dir, program, "config.toml"), nil
}

// StateDir returns the folder for what this user's runs remember, which need
// not exist: fumibako in $XDG_STATE_HOME or ~/.local/state, on macOS in
// ~/Library/Application Support, on Windows in %LocalAppData%.
func StateDir() (string, error) {
	return stateDir(runtime.GOOS, os.Getenv)
}

func stateDir(goos string, env func(string) string) (string, error) {
	missing := func() (string, error) {
		return "", &Error{Code: CodeNoHome, Args: safe.Args("variable", homeVariable(goos, "LocalAppData"))}
	}
	switch goos {
	case "windows":
		if dir := env("LocalAppData"); dir != "" {
			return filepath.Join(dir, program), nil
		}
		return missing()
	case "darwin":
		if home := env("HOME"); home != "" {
			return filepath.Join(home, "Library", "Application Support", program), nil
		}
		return missing()
	}
	// A relative path there is invalid and to be ignored (XDG Base Directory
	// Specification).
	if dir := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, program), nil
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", program), nil
	}
	return missing()
}

func homeVariable(goos, windows string) string {
	if goos == "windows" {
		return windows
	}
	return "HOME"
}
