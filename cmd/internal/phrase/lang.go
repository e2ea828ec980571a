package phrase

import "strings"

// Choose decides which language to speak: the one asked for by flag, else that
// of the first of LC_ALL, LC_MESSAGES and LANG that is set, else that of the
// system's user interface, else English. env is os.Getenv, or a stand-in;
// system returns a language tag or locale, or "". ok is false if flag names a
// language fumibako does not speak.
func Choose(flag string, env func(string) string, system func() string) (lang Lang, ok bool) {
	if flag != "" {
		for _, l := range Langs {
			if strings.EqualFold(flag, string(l)) {
				return l, true
			}
		}
		return chooseUnasked(env, system), false
	}
	return chooseUnasked(env, system), true
}

func chooseUnasked(env func(string) string, system func() string) Lang {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(name); v != "" {
			// "C" and "POSIX" are a decision too: English.
			return ofLocale(v)
		}
	}
	return ofLocale(system())
}

// ofLocale reads ja_JP.UTF-8, ja-JP and ja alike.
func ofLocale(locale string) Lang {
	base := strings.FieldsFunc(locale, func(r rune) bool { return r == '_' || r == '-' || r == '.' || r == '@' })
	if len(base) > 0 && strings.EqualFold(base[0], string(Japanese)) {
		return Japanese
	}
	return English
}
