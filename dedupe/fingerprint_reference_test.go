package dedupe

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
)

// This file says once more what Version 1 is, slowly and with all octets in
// memory, so that the Hasher can be held against it.

var (
	refLineEnd   = regexp.MustCompile(`\r*\n`)
	refEmptyLine = regexp.MustCompile(`(^|\n)(\r*\n)`)
	refFold      = regexp.MustCompile(`[ \t\n]+`)
	refFrom      = regexp.MustCompile(`^>*From `)
	refField     = regexp.MustCompile(`^([!-9;-~]+)[ \t]*:`)
)

// refCanonical returns the canonical octets.
func refCanonical(message []byte) []byte {
	c := refLineEnd.ReplaceAllLiteral(message, []byte("\r\n"))
	c = bytes.ReplaceAll(c, []byte{0}, []byte{0x80})
	return bytes.TrimRight(c, "\r\n")
}

// refSplit returns the header with its empty line, and the body.
func refSplit(message []byte) (header, body []byte, ok bool) {
	at := refEmptyLine.FindIndex(message)
	if at == nil {
		return message, nil, false
	}
	return message[:at[1]], message[at[1]:], true
}

// refContent returns what Content is the digest of, or nil if it is not defined.
func refContent(canonical []byte) []byte {
	header, body, ok := refSplit(canonical)
	if !ok || len(body) == 0 {
		return nil
	}
	text := strings.TrimSuffix(strings.ReplaceAll(string(header), "\r\n", "\n"), "\n")
	if len(text) > 256<<10 {
		return nil
	}

	// Fields, unfolded but with their line ends still in them.
	values := map[string][]string{}
	rest, top := "", true
	current := ""
	left := strings.TrimPrefix(text, "\uFEFF")
	for left != "" {
		line, after, _ := strings.Cut(left, "\n")
		field := refField.FindStringSubmatch(line)
		switch {
		case current != "" && strings.IndexAny(line, " \t") == 0:
			if current != "skip" {
				last := len(values[current]) - 1
				values[current][last] += "\n" + line
			}
		case field != nil:
			top = false
			current = strings.ToLower(field[1])
			values[current] = append(values[current], line[len(field[0]):])
		case top && refFrom.MatchString(line):
			current = "skip"
		default:
			if rest == "" {
				rest = left
			}
			current, top = "skip", false
		}
		left = after
	}

	var b bytes.Buffer
	b.WriteString("fumibako content 1\n")
	for _, name := range []string{"From", "To", "Cc", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding"} {
		name = strings.ToLower(name)
		for _, v := range values[name] {
			v = strings.Trim(refFold.ReplaceAllString(v, " "), " ")
			fmt.Fprintf(&b, "%s:%d\n%s\n", name, len(v), v)
		}
	}
	if rest != "" {
		fmt.Fprintf(&b, "?:%d\n%s\n", len(rest), rest)
	}
	b.WriteString("\n")
	b.Write(body)

	first := func(name string) string {
		if len(values[name]) == 0 {
			return ""
		}
		return strings.Trim(values[name][0], " \t\n")
	}
	if NormalizeMessageID(first("message-id")) == "" && (first("date") == "" || first("from") == "") {
		return nil
	}
	return b.Bytes()
}

// refFingerprint is the Fingerprint by definition.
func refFingerprint(message []byte) Fingerprint {
	canonical := refCanonical(message)
	header, _, _ := refSplit(message)
	f := Fingerprint{
		Raw:       sha256.Sum256(message),
		Canonical: sha256.Sum256(canonical),
		Header:    sha256.Sum256(header),
		Size:      int64(len(message)),
	}
	f.Content = f.Canonical
	if c := refContent(canonical); c != nil {
		f.Content = sha256.Sum256(c)
	}
	return f
}
