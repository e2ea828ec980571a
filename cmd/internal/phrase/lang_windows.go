package phrase

import "golang.org/x/sys/windows"

// System returns the language of the system's user interface, or "".
func System() string {
	names, err := windows.GetUserPreferredUILanguages(windows.MUI_LANGUAGE_NAME)
	if err != nil || len(names) == 0 {
		return ""
	}
	return names[0]
}
