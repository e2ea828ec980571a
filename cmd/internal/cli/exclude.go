package cli

import (
	"path"
	"strings"

	"github.com/fumibako-mail/fumibako/cmd/internal/phrase"
	"github.com/fumibako-mail/fumibako/cmd/internal/report"
	"github.com/fumibako-mail/fumibako/fetch"
)

// exclusion makes a decision out of the patterns of exclude: a special-use name
// such as `\Junk`, or a mailbox glob as in path.Match, with the hierarchy
// written as "/". A pattern that names a mailbox means its children too. nil
// means that nothing is left out.
func exclusion(patterns []string) (func(fetch.Mailbox) bool, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil && !strings.HasPrefix(p, `\`) {
			return nil, &report.Usage{Key: phrase.UsageExclude, Args: phrase.Args{"Pattern": p}}
		}
	}
	return func(m fetch.Mailbox) bool {
		for _, p := range patterns {
			if strings.HasPrefix(p, `\`) {
				if strings.EqualFold(p, m.SpecialUse) {
					return true
				}
				continue
			}
			if matchesMailbox(p, m) {
				return true
			}
		}
		return false
	}, nil
}

func matchesMailbox(pattern string, m fetch.Mailbox) bool {
	name := m.Name
	if m.Delimiter != "" && m.Delimiter != "/" {
		name = strings.ReplaceAll(name, m.Delimiter, "/")
	}
	if m.Delimiter == "" {
		ok, _ := path.Match(pattern, name)
		return ok
	}
	for {
		// INBOX is the one name without case (RFC 3501 §5.1).
		if ok, _ := path.Match(pattern, name); ok || strings.EqualFold(name, "INBOX") && strings.EqualFold(pattern, name) {
			return true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return false
		}
		name = name[:i]
	}
}
