package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/fumibako-mail/fumibako/cmd/internal/safe"
)

// A kind is the type a key wants, under the name that CodeWrongType uses.
type kind string

const (
	kindString        kind = "string"
	kindInteger       kind = "integer"
	kindBoolean       kind = "boolean"
	kindStrings       kind = "array-of-strings"
	kindTable         kind = "table"
	kindTables        kind = "array-of-tables"
	kindStringOrFalse kind = "string-or-false"
)

// tables says which keys each table has. "" is the top of the file.
var tables = map[string]map[string]kind{
	"": {
		"version": kindInteger, "archive": kindTable, "defaults": kindTable, "limits": kindTable,
		"account": kindTables, "master": kindTable,
	},
	"archive":  {"path": kindString, "format": kindString},
	"limits":   {"accounts": kindInteger, "per_host": kindInteger},
	"master":   {"account": kindString},
	"account":  accountKeys,
	"defaults": defaultsKeys(),
}

var accountKeys = map[string]kind{
	"name": kindString, "protocol": kindString, "host": kindString, "port": kindInteger, "security": kindString,
	"user": kindString, "password_command": kindStrings, "password_file": kindString, "password_env": kindString,
	"cleartext_reason": kindString, "exclude": kindStrings, "master": kindStringOrFalse, "pull": kindBoolean,
}

// defaultsKeys is accountKeys without name, which no two accounts may share.
func defaultsKeys() map[string]kind {
	m := maps.Clone(accountKeys)
	delete(m, "name")
	return m
}

// The tables as go-toml decodes them; a pointer is nil where the key is absent.
type (
	rawConfig struct {
		Version  *int         `toml:"version"`
		Archive  rawArchive   `toml:"archive"`
		Defaults rawAccount   `toml:"defaults"`
		Limits   rawLimits    `toml:"limits"`
		Accounts []rawAccount `toml:"account"`
		Master   rawMaster    `toml:"master"`
	}
	rawArchive struct {
		Path   *string `toml:"path"`
		Format *string `toml:"format"`
	}
	rawLimits struct {
		Accounts *int `toml:"accounts"`
		PerHost  *int `toml:"per_host"`
	}
	rawMaster struct {
		Account *string `toml:"account"`
	}
	rawAccount struct {
		Name            *string  `toml:"name"`
		Protocol        *string  `toml:"protocol"`
		Host            *string  `toml:"host"`
		Port            *int     `toml:"port"`
		Security        *string  `toml:"security"`
		User            *string  `toml:"user"`
		PasswordCommand []string `toml:"password_command"`
		PasswordFile    *string  `toml:"password_file"`
		PasswordEnv     *string  `toml:"password_env"`
		CleartextReason *string  `toml:"cleartext_reason"`
		Exclude         []string `toml:"exclude"`
		Master          any      `toml:"master"`
		Pull            *bool    `toml:"pull"`
	}
)

// checkTable reports the first key of table, found at path in the file, that is
// unknown or has the wrong type; nil if there is none.
func (d *document) checkTable(table string, path []string, values map[string]any) *Error {
	var first *Error
	keep := func(e *Error) {
		if e != nil && (first == nil || e.Line < first.Line || e.Line == first.Line && e.Column < first.Column) {
			first = e
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		at := append(slices.Clone(path), key)
		want, known := tables[table][key]
		if !known {
			keep(d.unknownKey(table, key, at))
			continue
		}
		keep(d.checkValue(want, key, at, values[key]))
	}
	return first
}

func (d *document) unknownKey(table, key string, at []string) *Error {
	known := slices.Sorted(maps.Keys(tables[table]))
	belongs := ""
	for _, t := range slices.Sorted(maps.Keys(tables)) {
		if _, ok := tables[t][key]; ok && t != "defaults" {
			belongs = t
			break
		}
	}
	suggestion := nearest(key, known)
	if s := synonyms[strings.ToLower(key)]; s != "" && slices.Contains(known, s) {
		suggestion = s
	}
	if suggestion == "" && isPasswordKey(key) {
		return d.errorAtKey(CodePasswordInFile, safe.Args("key", key), at)
	}
	return d.errorAtKey(CodeUnknownKey, safe.Args("key", key, "table", table, "suggestion", suggestion, "belongs", belongs), at)
}

// synonyms are the words that mail programs use for our keys.
var synonyms = map[string]string{
	"server": "host", "hostname": "host", "username": "user", "login": "user", "type": "protocol", "ssl": "security",
	"tls": "security", "encryption": "security", "account_name": "name", "dir": "path", "directory": "path",
	"folder": "path", "accounts": "account",
}

func (d *document) checkValue(want kind, key string, at []string, value any) *Error {
	have := kindOf(value)
	wrong := func(have kind) *Error {
		return d.errorAtValue(CodeWrongType, safe.Args("key", key, "want", string(want), "have", string(have)), at)
	}
	switch want {
	case kindTable:
		t, ok := value.(map[string]any)
		if !ok {
			return wrong(have)
		}
		return d.checkTable(key, at, t)
	case kindTables:
		if have == kindTable {
			return d.errorAtKey(CodeSingleBrackets, safe.Args("key", key), at)
		}
		list, ok := value.([]any)
		if !ok {
			return wrong(have)
		}
		for i, v := range list {
			t, ok := v.(map[string]any)
			if !ok {
				return wrong(have)
			}
			if err := d.checkTable(key, append(slices.Clone(at), strconv.Itoa(i)), t); err != nil {
				return err
			}
		}
		return nil
	case kindStrings:
		list, ok := value.([]any)
		if !ok {
			return wrong(have)
		}
		for _, v := range list {
			if _, ok := v.(string); !ok {
				return wrong("array")
			}
		}
		return nil
	case kindStringOrFalse:
		if v, ok := value.(bool); have == kindString || ok && !v {
			return nil
		}
		return wrong(have)
	case kindInteger:
		if n, ok := value.(int64); ok && int64(int32(n)) != n {
			// Decoding would fail where an int has 32 bits.
			return wrong("integer-too-large")
		}
	}
	if have != want {
		return wrong(have)
	}
	return nil
}

func kindOf(value any) kind {
	switch v := value.(type) {
	case string:
		return kindString
	case int64:
		return kindInteger
	case bool:
		return kindBoolean
	case float64:
		return "float"
	case map[string]any:
		return kindTable
	case []any:
		if len(v) > 0 {
			if _, ok := v[0].(map[string]any); ok {
				return kindTables
			}
		}
		return "array"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return "date"
	}
	return "array"
}
