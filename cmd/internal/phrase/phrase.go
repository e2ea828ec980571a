// Package phrase holds every sentence a person reads, in English and Japanese.
//
// A sentence is a Key; a Printer turns it into text in one language. The words
// lie in en.toml and ja.toml beside this file. A failure has two sentences:
// what is wrong (".what") and what to do about it (".hint"); Complaint looks
// both up by the stable identifier the failure carries, so that no other
// package decides by text.
//
// Text that comes from a server or a message may be given as an argument as it
// is: control characters, line ends and marks that change the direction of
// writing never reach the screen through a Printer, and no argument is longer
// than a few lines. Whole numbers among the arguments are grouped (1,234);
// a number that is a name (a port, a UID) is given as a string.
//
// The package does not print, does not know what went wrong, and chooses
// nothing but the language.
package phrase

import (
	"embed"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/text/language"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

//go:embed en.toml ja.toml
var files embed.FS

// Lang is a language fumibako speaks.
type Lang string

const (
	English  Lang = "en"
	Japanese Lang = "ja"
)

// Langs lists the languages in the order help shows them.
var Langs = []Lang{English, Japanese}

// A Key names a sentence.
type Key string

// Args are the values for the placeholders of a sentence. An int or int64
// called N also chooses between singular and plural.
type Args map[string]any

// A Printer makes sentences in one language. It may be used by several
// goroutines at once.
type Printer struct {
	lang      Lang
	localizer *i18n.Localizer
}

// New returns the Printer for lang; an unknown language is English.
func New(lang Lang) *Printer {
	if lang != Japanese {
		lang = English
	}
	return &Printer{lang: lang, localizer: i18n.NewLocalizer(words().bundle, string(lang))}
}

// Lang is the language the Printer speaks.
func (p *Printer) Lang() Lang { return p.lang }

// Keys lists every sentence there is, in alphabetical order.
func Keys() []Key { return slices.Sorted(maps.Keys(words().placeholders)) }

// Has reports whether there is a sentence for k.
func (p *Printer) Has(k Key) bool { return words().placeholders[k] != nil }

// Text returns the sentence k with args filled in. A placeholder without an
// argument stays empty. It may have several lines and does not end with a line
// end.
func (p *Printer) Text(k Key, args ...Args) string {
	names, ok := words().placeholders[k]
	if !ok {
		return string(k)
	}
	filled := make(map[string]any, len(names))
	for _, n := range names {
		filled[n] = ""
	}
	var plural any
	for _, a := range args {
		for n, v := range a {
			if n == "N" {
				plural = pluralOf(v)
			}
			filled[n] = p.argument(v)
		}
	}
	s, err := p.localizer.Localize(&i18n.LocalizeConfig{
		MessageID: string(k), TemplateData: filled, PluralCount: plural,
	})
	if err != nil && s == "" {
		return string(k)
	}
	return strings.TrimRight(s, "\n")
}

func pluralOf(v any) any {
	switch v := v.(type) {
	case int, int64:
		return v
	case uint32:
		return int64(v)
	}
	return nil
}

func (p *Printer) argument(v any) string {
	switch v := v.(type) {
	case string:
		return safe.Text(v, maxArgument)
	case int:
		return p.Number(int64(v))
	case int64:
		return p.Number(v)
	case uint32:
		return p.Number(int64(v))
	case bool:
		return strconv.FormatBool(v)
	case []string:
		return safe.Text(strings.Join(v, ", "), maxArgument)
	case interface{ String() string }:
		return safe.Text(v.String(), maxArgument)
	case error:
		return safe.Text(v.Error(), maxArgument)
	}
	return ""
}

// maxArgument bounds an argument in characters: enough for a server's own
// words, too little to fill a screen.
const maxArgument = 400

// vocabulary is what was read from the two files.
type vocabulary struct {
	bundle       *i18n.Bundle
	placeholders map[Key][]string // of every sentence; never nil for a sentence that exists
}

var (
	action = regexp.MustCompile(`\{\{[^}]*\}\}`)
	field  = regexp.MustCompile(`\.(\w+)`)
)

// fieldsOf returns the names of the placeholders in a template.
func fieldsOf(template string) []string {
	var out []string
	for _, a := range action.FindAllString(template, -1) {
		for _, hit := range field.FindAllStringSubmatch(a, -1) {
			out = append(out, hit[1])
		}
	}
	return out
}

// words reads the embedded files. They are part of the program, and a test
// reads them too: that they parse is not a question of the machine.
var words = sync.OnceValue(func() *vocabulary {
	b := i18n.NewBundle(language.English)
	b.RegisterUnmarshalFunc("toml", toml.Unmarshal)
	v := &vocabulary{bundle: b, placeholders: map[Key][]string{}}
	for _, l := range Langs {
		f, err := b.LoadMessageFileFS(files, string(l)+".toml")
		if err != nil {
			panic(err)
		}
		for _, m := range f.Messages {
			names := v.placeholders[Key(m.ID)]
			if names == nil {
				names = []string{}
			}
			v.placeholders[Key(m.ID)] = append(names, fieldsOf(m.One+m.Other)...)
		}
	}
	return v
})
