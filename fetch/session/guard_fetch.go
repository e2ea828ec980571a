package session

import (
	"bytes"
	"regexp"
	"strconv"
)

// fetchState is what is known of the FETCH response that is being read.
type fetchState struct {
	w        wants
	num      uint32
	uid      uint32 // 0: not seen yet
	flags    []byte // as a list; nil: not seen, or handed on
	date     []byte // unquoted, in the library's layout; nil: none that can be read
	dateSeen bool
	size     int64 // -1: not seen, or handed on
	modseq   uint64
	also     string
	head     bool // "* n FETCH (" is out
	space    bool // the next item needs a space before it
	bodies   int  // body items seen
	skip     bool // nobody waits for it: its bodies are forgotten
	parts    []heldPart
}

// fetched reads a FETCH response whose number and name were read.
func (g *guard) fetched(w wants, num uint32) error {
	g.fetch = fetchState{w: w, num: num, size: -1, skip: !w.fetches}
	g.seg.spaces()
	if g.seg.peek() != '(' {
		return syntaxError("fetch-syntax")
	}
	g.seg.i++
	return g.fetchItems()
}

// afterBody goes on behind a body: only a space with another item, or the end
// of the list, may follow. Anything else means that the announced size was wrong.
func (g *guard) afterBody() error {
	if c := g.seg.peek(); c != ' ' && c != ')' {
		return syntaxError("literal-mismatch")
	}
	if err := g.fetchItems(); err != nil {
		return err
	}
	return nil
}

// fetchItems reads items until the response ends or a body is to be passed.
func (g *guard) fetchItems() error {
	f := &g.fetch
	for {
		g.seg.spaces()
		switch {
		case g.seg.end():
			if f.bodies > 0 {
				return syntaxError("literal-mismatch")
			}
			// QUIRK(several): the closing parenthesis is missing.
			return g.fetchEnd()
		case g.seg.peek() == ')':
			g.seg.i++
			g.seg.spaces()
			if f.bodies > 0 && !g.seg.end() {
				return syntaxError("literal-mismatch")
			}
			return g.fetchEnd()
		}
		stop, err := g.fetchItem()
		if err != nil || stop {
			return err
		}
	}
}

// fetchItem reads one item. It reports stop when a body is to be passed.
func (g *guard) fetchItem() (stop bool, err error) {
	f := &g.fetch
	name := g.seg.word()
	if !isItemName(name) {
		if f.bodies > 0 {
			return false, syntaxError("literal-mismatch")
		}
		return false, syntaxError("fetch-syntax")
	}
	switch {
	case equalFold(name, "UID"):
		g.seg.spaces()
		if n, ok := g.seg.number(1<<32 - 1); ok {
			f.uid = uint32(n)
		}
		g.seg.token()
		return false, nil
	case equalFold(name, "FLAGS"):
		list, err := g.flagList(g.flag[:0], false)
		if err != nil {
			return false, err
		}
		g.flag, f.flags = list, list
		return false, nil
	case equalFold(name, "RFC822.SIZE"):
		g.seg.spaces()
		n, ok := g.seg.number(1<<63 - 1)
		if len(g.seg.token()) > 0 || !ok {
			return false, nil // not a number: not said
		}
		f.size = int64(n)
		return false, nil
	case equalFold(name, "INTERNALDATE"):
		return false, g.internalDate()
	case equalFold(name, "MODSEQ"):
		return false, g.modSeq()
	case equalFold(name, "RFC822"):
		// QUIRK(several): the old names of the items (RFC 1730) in answers.
		return g.bodyItem("BODY[]")
	case equalFold(name, "RFC822.HEADER"):
		return g.bodyItem("BODY[HEADER]")
	case equalFold(name, "RFC822.TEXT"):
		return g.bodyItem("BODY[TEXT]")
	case (equalFold(name, "BODY") || equalFold(name, "BODY.PEEK")) && g.seg.peek() == '[':
		return g.section()
	}
	extra := g.extra != "" && equalFold(name, g.extra)
	if g.seg.peek() == '[' {
		g.seg.token()
	}
	g.seg.spaces()
	from := g.seg.i
	if err := g.skipValue(); err != nil {
		return false, err
	}
	if extra && from <= g.seg.i && g.seg.i <= len(g.seg.b) {
		f.also = string(bytes.Trim(g.seg.b[from:g.seg.i], "()"))
	}
	return false, nil
}

// isItemName reports whether b can be the name of a FETCH item.
func isItemName(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_', c == '/':
		default:
			return false
		}
	}
	return len(b) > 0
}

func (g *guard) internalDate() error {
	f := &g.fetch
	g.seg.spaces()
	f.dateSeen = true
	var raw []byte
	if g.seg.isNIL() {
		return nil
	}
	if n, ok := g.seg.literal(); ok {
		lit, err := g.smallLiteral(n)
		if err != nil {
			return err
		}
		raw = lit
	} else if g.seg.peek() == '"' {
		raw = g.seg.quoted(nil)
	} else {
		return g.skipValue()
	}
	f.date = normalDate(raw)
	return nil
}

func (g *guard) modSeq() error {
	g.seg.spaces()
	paren := g.seg.peek() == '('
	if paren {
		g.seg.i++
		g.seg.spaces()
	}
	n, ok := g.seg.number(1<<64 - 1)
	if ok {
		g.fetch.modseq = n
	}
	g.seg.token()
	if g.seg.spaces(); paren && g.seg.peek() == ')' {
		g.seg.i++
	}
	return nil
}

// sectionSpec is what the library reads behind BODY, in upper case.
var sectionSpec = regexp.MustCompile(`^\[(|HEADER|TEXT|[1-9][0-9]{0,4}(\.[1-9][0-9]{0,4})*(\.(HEADER|TEXT|MIME))?|` +
	`HEADER\.FIELDS(\.NOT)? \(("[ !#-\[\]-~]*"|[!#$&'+-Z^-z|}~]+)( ("[ !#-\[\]-~]*"|[!#$&'+-Z^-z|}~]+))*\))\](<[0-9]{1,9}>)?$`)

// section reads the rest of a BODY[…] item's name, and its value.
func (g *guard) section() (stop bool, err error) {
	from := g.seg.i
	quoted := false
	for !g.seg.end() {
		c := g.seg.b[g.seg.i]
		g.seg.i++
		if c == '"' {
			quoted = !quoted
		}
		if c == ']' && !quoted {
			break
		}
	}
	if g.seg.peek() == '<' {
		for !g.seg.end() && g.seg.b[g.seg.i-1] != '>' {
			g.seg.i++
		}
	}
	spec := g.seg.b[from:g.seg.i]
	if string(spec) != "[]" {
		spec = appendUpper(nil, spec)
		if !sectionSpec.Match(spec) {
			return false, syntaxError("fetch-syntax")
		}
	}
	return g.bodyItem("BODY" + string(spec))
}

// bodyItem reads the value of a body item. It reports stop if the value is a
// literal that is to be passed.
func (g *guard) bodyItem(item string) (stop bool, err error) {
	f := &g.fetch
	g.seg.spaces()
	if f.bodies++; f.bodies > guardBodies {
		return false, syntaxError("fetch-syntax")
	}
	if g.seg.isNIL() {
		g.bodyInMemory(item+" NIL", nil)
		return false, nil
	}
	if g.seg.peek() == '"' {
		text := g.seg.quoted(nil)
		g.bodyInMemory(item+" {"+strconv.Itoa(len(text))+"}\r\n", text)
		return false, nil
	}
	n, ok := g.seg.literal()
	if !ok {
		return false, syntaxError("fetch-syntax")
	}
	if n > guardBodyMax {
		return false, syntaxError("literal-too-large")
	}
	g.spent = 0 // a body has its own bound, and what follows it a new one
	if f.skip {
		return false, g.discard(n)
	}
	announced := item + " {" + strconv.FormatInt(n, 10) + "}\r\n"
	if g.mustHold() {
		if err := g.hold(announced, n); err != nil {
			return false, err
		}
		return false, g.behindBody()
	}
	g.fetchHead()
	g.itemSpace()
	g.out = append(g.out, announced...)
	if n == 0 {
		return false, g.behindBody()
	}
	g.left = n
	return true, nil
}

// behindBody goes on with the line behind a body that is not to be passed.
func (g *guard) behindBody() error {
	if err := g.nextSegment(); err != nil {
		return err
	}
	if c := g.seg.peek(); c != ' ' && c != ')' {
		return syntaxError("literal-mismatch")
	}
	return nil
}

func (g *guard) itemSpace() {
	if g.fetch.space {
		g.out = append(g.out, ' ')
	}
	g.fetch.space = true
}

// fetchHead hands on the beginning of the response and all that is known so far,
// the UID first.
func (g *guard) fetchHead() {
	f := &g.fetch
	if !f.head {
		f.head = true
		g.emit([]byte("* "))
		g.out = appendInt(g.out, int64(f.num))
		g.out = append(g.out, " FETCH ("...)
		if f.uid != 0 {
			g.itemSpace()
			g.out = append(g.out, "UID "...)
			g.out = appendInt(g.out, int64(f.uid))
		}
		if f.date == nil && f.uid != 0 {
			f.date = g.dates[f.uid]
		}
		if f.also != "" && f.uid != 0 && g.also != nil {
			g.also(f.uid, f.also)
		}
	}
	if f.flags != nil {
		g.itemSpace()
		g.out = append(g.out, "FLAGS "...)
		g.out = append(g.out, f.flags...)
		f.flags = nil
	}
	if f.date != nil {
		g.itemSpace()
		g.out = append(g.out, `INTERNALDATE "`...)
		g.out = append(g.out, f.date...)
		g.out = append(g.out, '"')
		f.date = nil
	}
	if f.size >= 0 {
		g.itemSpace()
		g.out = append(g.out, "RFC822.SIZE "...)
		g.out = appendInt(g.out, f.size)
		f.size = -1
	}
	if f.modseq > 0 {
		g.itemSpace()
		g.out = append(g.out, "MODSEQ ("...)
		g.out = strconv.AppendUint(g.out, f.modseq, 10)
		g.out = append(g.out, ')')
		f.modseq = 0
	}
}

// fetchEnd ends the response.
func (g *guard) fetchEnd() error {
	f := &g.fetch
	if !f.head && g.unwantedFetch() {
		for i := range f.parts {
			f.parts[i].close()
		}
		f.parts = nil
		return g.drop("FETCH", nil)
	}
	g.fetchHead()
	if len(f.parts) == 0 {
		g.out = append(g.out, ")\r\n"...)
		return nil
	}
	if f.space {
		g.out = append(g.out, ' ')
	}
	g.held, f.parts = f.parts, nil
	return nil
}

// unwantedFetch reports whether a response that was read to its end is not what
// a command waits for: the library would take it for the answer, and forget the
// real one.
func (g *guard) unwantedFetch() bool {
	f := &g.fetch
	switch {
	case f.skip:
		return true
	case f.uid == 0 && !f.w.seqFetches:
		return true
	case f.w.bodies && f.bodies == 0:
		if f.uid != 0 && f.date != nil && len(g.dates) < 4096 {
			// QUIRK(several): the items of one message in two responses.
			if g.dates == nil {
				g.dates = make(map[uint32][]byte)
			}
			g.dates[f.uid] = bytes.Clone(f.date)
		}
		return true
	}
	return false
}

// skipValue reads over the value of an item: an atom, a string or a list.
func (g *guard) skipValue() error {
	depth := 0
	for {
		if g.seg.end() {
			return nil
		}
		switch c := g.seg.peek(); {
		case c == '"':
			g.seg.quoted(g.lit[:0])
		case c == '(':
			depth++
			g.seg.i++
		case c == ')' && depth == 0, c == ' ' && depth == 0:
			return nil
		case c == ')':
			depth--
			g.seg.i++
		case c == '{' || c == '~':
			n, ok := g.seg.literal()
			if !ok {
				g.seg.i++
				continue
			}
			if _, err := g.smallLiteral(n); err != nil {
				return err
			}
		default:
			g.seg.i++
		}
	}
}
