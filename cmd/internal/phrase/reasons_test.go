package phrase

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// identifier is the shape of a reason.
var identifier = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// reasons collects, from the Go files of the folders, the string literals that
// are reasons: the field Reason (or reason) of a composite literal, and what is
// passed to the functions that build errors.
func reasons(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	builders := map[string]bool{"failure": true, "temporary": true, "refusal": true, "meaning": true, "err": true, "named": true, "lost": true}
	out := map[string]string{}
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, src, 0)
			if err != nil {
				t.Fatal(err)
			}
			note := func(e ast.Expr) {
				lit, ok := e.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return
				}
				if s, err := strconv.Unquote(lit.Value); err == nil && identifier.MatchString(s) {
					out[s] = set.Position(lit.Pos()).String()
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.KeyValueExpr:
					if k, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(k.Name, "reason") {
						note(n.Value)
					}
				case *ast.CallExpr:
					if builders[calledName(n)] {
						for _, a := range n.Args {
							note(a)
						}
					}
				case *ast.AssignStmt:
					for i, l := range n.Lhs {
						if i < len(n.Rhs) && strings.EqualFold(lastName(l), "reason") {
							note(n.Rhs[i])
						}
					}
				}
				return true
			})
		}
	}
	if len(out) < 40 {
		t.Fatalf("only %d reasons found", len(out))
	}
	return out
}

func calledName(c *ast.CallExpr) string { return lastName(c.Fun) }

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
