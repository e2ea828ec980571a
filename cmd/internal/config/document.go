package config

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// A document is a TOML file together with the place of every key in it.
type document struct {
	file   string
	octets []byte
	marks  map[string]mark
	raw    rawConfig
}

// A mark is where a key and its value stand, as offsets in octets. implied
// marks a table that exists only because a longer key names it.
type mark struct {
	key, value int
	implied    bool
}

// maxDepth bounds the paths that get a mark, since the cost of a path grows with
// the square of its length; the deepest of ours is account, index, key.
const maxDepth = 8

// pathKey makes a map key of a path; indices of arrays are decimal parts.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

// read parses octets and checks keys and types.
func read(file string, octets []byte) (*document, error) {
	d := &document{file: file, octets: octets, marks: map[string]mark{}}
	if bytes.HasPrefix(octets, []byte("\xff\xfe")) || bytes.HasPrefix(octets, []byte("\xfe\xff")) {
		return nil, &Error{File: file, Line: 1, Column: 1, Code: CodeNotUTF8, Args: safe.Args("encoding", "utf-16")}
	}
	if !utf8.Valid(octets) {
		return nil, d.errorAt(CodeNotUTF8, safe.Args("encoding", ""), firstInvalid(octets))
	}
	dup := d.index()
	var values map[string]any
	if err := toml.Unmarshal(octets, &values); err != nil {
		return nil, d.syntax(err, dup)
	}
	if err := d.checkTable("", nil, values); err != nil {
		return nil, err
	}
	decoder := toml.NewDecoder(bytes.NewReader(octets)).DisallowUnknownFields()
	if err := decoder.Decode(&d.raw); err != nil {
		// checkTable is the stricter of the two; this is the second lock.
		return nil, d.syntax(err, nil)
	}
	return d, nil
}

// firstInvalid returns the offset of the first octet that is not UTF-8.
func firstInvalid(octets []byte) int {
	for i := 0; i < len(octets); {
		r, n := utf8.DecodeRune(octets[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(octets)
}

// A duplicate is a key that stands twice.
type duplicate struct {
	key           string
	first, second int // offsets
}

// index fills d.marks, as far as the file can be read, and returns the first
// key that stands twice in one table, or nil.
func (d *document) index() *duplicate {
	var (
		p      unstable.Parser
		dup    *duplicate
		table  []string
		skip   bool // in a table deeper than any of ours
		counts = map[string]int{}
	)
	record := func(path []string, m mark) {
		k := pathKey(path)
		if old, ok := d.marks[k]; ok && !old.implied {
			if !m.implied && dup == nil {
				dup = &duplicate{key: path[len(path)-1], first: old.key, second: m.key}
			}
			return
		}
		d.marks[k] = m
	}
	p.Reset(d.octets)
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = nil
			parts, place, _ := keyParts(e)
			if skip = len(parts) > maxDepth; skip {
				continue
			}
			for i, part := range parts {
				table = append(table, part)
				last := i == len(parts)-1
				if e.Kind == unstable.ArrayTable && last {
					record(table, mark{key: place, value: place, implied: true})
					n := counts[pathKey(table)]
					counts[pathKey(table)]++
					table = append(table, strconv.Itoa(n))
				} else if n := counts[pathKey(table)]; n > 0 {
					table = append(table, strconv.Itoa(n-1))
				}
				record(table, mark{key: place, value: place, implied: !last})
			}
		case unstable.KeyValue:
			if skip {
				continue
			}
			d.indexKeyValue(table, e, record)
		}
	}
	return dup
}

// keyParts returns the parts of a possibly dotted key and the offsets where it
// begins and ends.
func keyParts(n *unstable.Node) (parts []string, begin, end int) {
	begin = -1
	for it := n.Key(); it.Next(); {
		raw := it.Node().Raw
		if begin < 0 {
			begin = int(raw.Offset)
		}
		end = int(raw.Offset) + int(raw.Length)
		parts = append(parts, string(it.Node().Data))
	}
	return parts, max(begin, 0), end
}

func (d *document) indexKeyValue(table []string, n *unstable.Node, record func([]string, mark)) {
	parts, begin, end := keyParts(n)
	if len(table)+len(parts) > maxDepth {
		return
	}
	m := mark{key: begin, value: end}
	// The parser does not tell where an array begins.
	for m.value < len(d.octets) && bytes.IndexByte([]byte(" \t="), d.octets[m.value]) >= 0 {
		m.value++
	}
	path := append([]string(nil), table...)
	for i, part := range parts {
		path = append(path, part)
		m.implied = i < len(parts)-1
		record(path, m)
	}
	d.indexValue(path, n.Value(), m, record)
}

func (d *document) indexValue(path []string, value *unstable.Node, at mark, record func([]string, mark)) {
	switch value.Kind {
	case unstable.Array:
		i := 0
		for it := value.Children(); it.Next(); i++ {
			child := it.Node()
			if child.Kind != unstable.InlineTable {
				continue
			}
			inner := append(append([]string(nil), path...), strconv.Itoa(i))
			record(inner, at)
			d.indexValue(inner, child, at, record)
		}
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			d.indexKeyValue(path, it.Node(), record)
		}
	}
}

// syntax turns an error of go-toml into ours. Only its words are kept: the
// error itself carries the lines around, which may hold a password.
func (d *document) syntax(err error, dup *duplicate) *Error {
	var (
		de     *toml.DecodeError
		strict *toml.StrictMissingError
	)
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		de = &strict.Errors[0]
	} else if !errors.As(err, &de) {
		return &Error{File: d.file, Code: CodeSyntax, Args: safe.Args()}
	}
	row, column := de.Position()
	offset := d.offset(row, column)
	if dup != nil && d.line(dup.second) <= row {
		return d.errorAt(CodeDuplicateKey, safe.Args("key", dup.key, "first", d.line(dup.first)), dup.second)
	}
	e := d.errorAt(CodeSyntax, safe.Args(), offset)
	if escape := d.octets[max(d.lineStart(offset), offset-10):min(len(d.octets), offset+1)]; bytes.IndexByte(escape, '\\') >= 0 {
		e.Code, e.Args = CodeBackslash, safe.Args("suggestion", slashed(e.Excerpt))
	}
	if !strings.Contains(e.Excerpt, masked) {
		e.Err = errors.New(de.Error())
	}
	return e
}

var quoted = regexp.MustCompile(`"([^"]*\\[^"]*)"`)

// slashed returns the first quoted text with a backslash in line, with / for \.
func slashed(line string) string {
	m := quoted.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(strings.ReplaceAll(m[1], `\\`, `\`), `\`, "/")
}

// place returns the mark of path, or of the longest beginning of it that is in
// the file.
func (d *document) place(path []string) (mark, bool) {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if m, ok := d.marks[pathKey(path)]; ok {
			return m, true
		}
	}
	return mark{}, false
}

// has says whether the file has that very key.
func (d *document) has(path ...string) bool {
	_, ok := d.marks[pathKey(path)]
	return ok
}

func (d *document) errorAtKey(code string, args map[string]any, path []string) *Error {
	m, ok := d.place(path)
	if !ok {
		return &Error{File: d.file, Code: code, Args: args}
	}
	return d.errorAt(code, args, m.key)
}

func (d *document) errorAtValue(code string, args map[string]any, path []string) *Error {
	m, ok := d.place(path)
	if !ok {
		return &Error{File: d.file, Code: code, Args: args}
	}
	return d.errorAt(code, args, m.value)
}

func (d *document) errorAt(code string, args map[string]any, offset int) *Error {
	offset = min(max(offset, 0), len(d.octets))
	start := d.lineStart(offset)
	return &Error{
		File: d.file, Line: d.line(offset), Column: utf8.RuneCount(d.octets[start:offset]) + 1,
		Excerpt: d.excerpt(start), Code: code, Args: args,
	}
}

func (d *document) line(offset int) int { return bytes.Count(d.octets[:offset], []byte("\n")) + 1 }

func (d *document) lineStart(offset int) int {
	return bytes.LastIndexByte(d.octets[:offset], '\n') + 1
}

// offset is the inverse of go-toml's row and column, which counts octets.
func (d *document) offset(row, column int) int {
	offset := 0
	for ; row > 1; row-- {
		n := bytes.IndexByte(d.octets[offset:], '\n')
		if n < 0 {
			break
		}
		offset += n + 1
	}
	return min(offset+max(column-1, 0), len(d.octets))
}

// excerpt returns the line that begins at start, fit for a terminal and without
// passwords.
func (d *document) excerpt(start int) string {
	line := d.octets[start:]
	if n := bytes.IndexByte(line, '\n'); n >= 0 {
		line = line[:n]
	}
	text := strings.TrimSuffix(string(line), "\r")
	if !beginsAnew.MatchString(text) && d.insidePassword(start) {
		return masked
	}
	return safe.Text(mask(text), 400)
}

// insidePassword says whether the line before start, or one further up that it
// continues, sets a password: the value may run over several lines.
func (d *document) insidePassword(start int) bool {
	for start > 0 {
		end := start - 1
		start = d.lineStart(end)
		line := string(d.octets[start:end])
		if beginsAnew.MatchString(line) {
			return mask(line) != strings.TrimRight(line, "\r")
		}
	}
	return false
}

const masked = "…"

var (
	beginsAnew = regexp.MustCompile(`^\s*(\[|#|$|["']?[\p{L}\p{N}_.-]+["']?\s*=)`)
	// word is what a key for a password looks like in any configuration.
	word        = `(?:pass|pwd|secret|token|credential|パスワード|暗証)`
	startsSo    = regexp.MustCompile(`(?i)^\s*["']?[\p{L}\p{N}_.-]*` + word + `[\p{L}\p{N}_-]*`)
	assignsSo   = regexp.MustCompile(`(?i)[\p{L}\p{N}_.-]*` + word + `[\p{L}\p{N}_-]*["']?\s*[=:]`)
	commentsSo  = regexp.MustCompile(`(?i)#.*` + word)
	userinfo    = regexp.MustCompile(`://[^\s"']*@`)
	colonAt     = regexp.MustCompile(`:[^/\s"':@＠][^\s"':]*[@＠]`)
	sourceKey   = regexp.MustCompile(`^\s*password_(command|file)\s*=`)
	envKey      = regexp.MustCompile(`^\s*password_env\s*=\s*`)
	usualEnv    = regexp.MustCompile(`^(["'])[A-Z_][A-Z0-9_]*["']\s*(#.*)?$`)
	passwordKey = regexp.MustCompile(`(?i)` + word)
)

func isPasswordKey(key string) bool { return passwordKey.MatchString(key) }

// mask replaces what may be a password in a line of a configuration by "…". It
// rather hides too much: the line is shown on screens and pasted into mails.
func mask(line string) string {
	line = userinfo.ReplaceAllString(line, "://"+masked+"@")
	line = colonAt.ReplaceAllString(line, ":"+masked+"@")
	if at := commentsSo.FindStringIndex(line); at != nil {
		line = line[:at[0]] + "#" + masked
	}
	if at := envKey.FindStringIndex(line); at != nil {
		if usualEnv.MatchString(strings.TrimSpace(line[at[1]:])) {
			return line
		}
		return line[:at[1]] + masked
	}
	from := 0
	if at := sourceKey.FindStringIndex(line); at != nil {
		from = at[1]
	} else if at := startsSo.FindStringIndex(line); at != nil && at[1] < len(line) {
		return line[:at[1]] + " " + masked
	}
	for {
		at := assignsSo.FindStringIndex(line[from:])
		if at == nil {
			return line
		}
		if name := line[from+at[0] : from+at[1]]; !strings.HasPrefix(name, "password_command") && !strings.HasPrefix(name, "password_file") {
			return line[:from+at[1]] + masked
		}
		from += at[1]
	}
}
