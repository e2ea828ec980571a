package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// TestNothingIsPrintedAroundPhrase reads the sources of the two packages that
// print, for string literals with words in them that are given to a function
// that writes.
func TestNothingIsPrintedAroundPhrase(t *testing.T) {
	writers := map[string]bool{"Print": true, "Println": true, "Printf": true, "Fprint": true, "Fprintln": true, "Fprintf": true,
		"WriteString": true, "Write": true, "show": true, "lines": true, "line": true, "status": true}
	files := 0
	for _, dir := range []string{".", "../report"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			files++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || !writers[called(call)] {
					return true
				}
				for _, arg := range call.Args {
					for _, word := range literals(arg) {
						if strings.ContainsFunc(word, unicode.IsLetter) {
							t.Errorf("%s: %q is printed around phrase", set.Position(call.Pos()), word)
						}
					}
				}
				return true
			})
		}
	}
	if files < 20 {
		t.Fatalf("only %d files read", files)
	}
}

func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// literals returns the string literals of an argument that are written as they
// stand: also parts of a sum, but not the arguments of further calls.
func literals(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return []string{s}
		}
	case *ast.BinaryExpr:
		return append(literals(e.X), literals(e.Y)...)
	case *ast.ParenExpr:
		return literals(e.X)
	}
	return nil
}
