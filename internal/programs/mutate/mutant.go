package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutant is a change of the code.
type mutant struct {
	id       int
	file     string // its name
	line     int
	function string
	text     string // the code that is changed
	change   string // how

	dropped bool // it does not compile
	reached bool // by a test
	killed  bool
}

// key names a mutant whatever its line is.
func (m *mutant) key() string {
	return fmt.Sprintf("%s: %s: %s: %s", m.file, m.function, m.text, m.change)
}

// edit replaces length bytes at an offset of a file, for a mutant.
type edit struct {
	mutant         int
	offset, length int
	text           string
}

// finder finds the mutants of a file.
type finder struct {
	*code
	file     *ast.File
	path     string
	source   []byte
	mutants  *[]*mutant
	edits    []edit
	function string
	stack    []ast.Node
	closers  [][]edit       // what follows each node of the stack but the first
	results  []*types.Tuple // of the functions that enclose the node
}

// find finds the mutants of packages. Their edits are kept in the package.
func find(packages []*code, files *regexp.Regexp) (mutants []*mutant) {
	for _, p := range packages {
		p.edits = make(map[string][]edit)
		for _, name := range p.GoFiles {
			if path := filepath.Join(p.Dir, name); files.MatchString(name) {
				f := &finder{code: p, file: p.files[path], path: path, mutants: &mutants}
				f.find()
			}
		}
	}
	return mutants
}

func (f *finder) find() {
	source, err := os.ReadFile(f.path)
	if err != nil {
		panic(err) // it was parsed before
	}
	f.source = source
	for _, d := range f.file.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
			f.function = d.Name.Name
			if d.Recv != nil {
				f.function = types.ExprString(d.Recv.List[0].Type) + "." + d.Name.Name
			}
			f.stack = []ast.Node{d}
			f.results = []*types.Tuple{f.info.Defs[d.Name].Type().(*types.Signature).Results()}
			ast.Inspect(d.Body, f.visit)
		}
	}
	if f.edits != nil {
		f.code.edits[f.path] = f.edits
	}
}

// visit is called before and, with nil, after the children of a node.
func (f *finder) visit(n ast.Node) bool {
	if n == nil {
		last := len(f.stack) - 1
		if _, ok := f.stack[last].(*ast.FuncLit); ok {
			f.results = f.results[:len(f.results)-1]
		}
		f.edits = append(f.edits, f.closers[last-1]...)
		f.stack, f.closers = f.stack[:last], f.closers[:last-1]
		return true
	}
	parent := f.stack[len(f.stack)-1]
	f.stack, f.closers = append(f.stack, n), append(f.closers, nil)
	switch n := n.(type) {
	case *ast.FuncLit:
		f.results = append(f.results, f.info.Types[n].Type.(*types.Signature).Results())
	case *ast.ReturnStmt:
		f.returned(n)
	case ast.Stmt:
		f.statement(n, parent)
	case ast.Expr:
		f.expression(n, parent)
	}
	_, isConst := n.(*ast.GenDecl)
	_, isType := n.(*ast.ArrayType)
	if isConst || isType {
		f.leave()
		return false
	}
	return true
}

// leave forgets a node whose children are not visited.
func (f *finder) leave() {
	f.stack, f.closers = f.stack[:len(f.stack)-1], f.closers[:len(f.closers)-1]
}

// add makes a mutant and returns its id.
func (f *finder) add(n ast.Node, change string) int {
	text := strings.Join(strings.Fields(string(f.source[f.offset(n.Pos()):f.offset(n.End())])), " ")
	if len(text) > 80 {
		text = text[:77] + "..."
	}
	m := &mutant{
		id: len(*f.mutants) + 1, file: filepath.Base(f.path), line: f.fset.Position(n.Pos()).Line,
		function: f.function, text: text, change: change,
	}
	*f.mutants = append(*f.mutants, m)
	return m.id
}

func (f *finder) offset(pos token.Pos) int { return f.fset.Position(pos).Offset }

// wrap puts text before a node and after it, for a mutant. In before, %d is the id.
func (f *finder) wrap(n ast.Node, change, before, after string) (id int) {
	id = f.add(n, change)
	f.edits = append(f.edits, edit{mutant: id, offset: f.offset(n.Pos()), text: fmt.Sprintf(before, id)})
	last := len(f.closers) - 1
	f.closers[last] = slices.Insert(f.closers[last], 0, edit{mutant: id, offset: f.offset(n.End()), text: after})
	return id
}

// statement removes a statement of a block.
func (f *finder) statement(s ast.Stmt, parent ast.Node) {
	switch parent.(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
	default:
		return
	}
	if c, ok := parent.(*ast.CommClause); ok && c.Comm == s {
		return
	}
	switch s := s.(type) {
	case *ast.ExprStmt:
		if call, ok := s.X.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "panic" {
			return // it may be what ends the function
		}
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			return
		}
	case *ast.BranchStmt:
		if s.Tok == token.GOTO || s.Tok == token.FALLTHROUGH {
			return
		}
	case *ast.IncDecStmt, *ast.SendStmt, *ast.GoStmt, *ast.DeferStmt:
	default:
		return
	}
	f.wrap(s, "removed", "if !mutantOn(%d) { ", " }")
}

// returned makes the results zero, or the error nil.
func (f *finder) returned(s *ast.ReturnStmt) {
	results := f.results[len(f.results)-1]
	if results.Len() == 0 || len(s.Results) > 0 && !slices.ContainsFunc(s.Results, f.isNotZero) {
		return
	}
	var zero []string
	for v := range results.Variables() {
		zero = append(zero, "*new("+types.TypeString(v.Type(), f.qualify)+")")
	}
	f.wrap(s, "zero", "if mutantOn(%d) { return "+strings.Join(zero, ", ")+" }; ", "")
	if n := len(s.Results); n > 1 && n == results.Len() && f.isNotZero(s.Results[n-1]) && isError(results.At(n-1).Type()) {
		f.wrap(s.Results[n-1], "nil", "mutantError(%d, ", ")")
	}
}

func isError(t types.Type) bool { return types.Identical(t, types.Universe.Lookup("error").Type()) }

// isNotZero reports whether an expression is not the literal zero of its type.
func (f *finder) isNotZero(e ast.Expr) bool {
	switch text := types.ExprString(e); text {
	case "nil", "false", "0", `""`:
		return false
	default:
		_, literal := e.(*ast.CompositeLit)
		return !literal || !strings.HasSuffix(text, "{}")
	}
}

func (f *finder) qualify(p *types.Package) string {
	if p == f.types {
		return ""
	}
	return p.Name()
}

func (f *finder) expression(e ast.Expr, parent ast.Node) {
	t := f.info.Types[e]
	if !t.IsValue() {
		return
	}
	if t.Value == nil && f.isCondition(e, parent) {
		if _, loop := parent.(*ast.ForStmt); !loop { // which would not end
			f.wrap(e, "true", "mutantForce(%d, true, ", ")")
		}
		f.wrap(e, "false", "mutantForce(%d, false, ", ")")
	}
	switch e := e.(type) {
	case *ast.BinaryExpr:
		if opposite := map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}[e.Op]; opposite != "" && t.Value == nil {
			id := f.wrap(e, opposite, "mutantCompare(%d, \""+e.Op.String()+"\", ", ")")
			f.edits = append(f.edits, edit{id, f.offset(e.OpPos), len(e.Op.String()), ","})
		}
	case *ast.BasicLit:
		f.number(e, t)
	case *ast.Ident:
		if c, ok := f.info.Uses[e].(*types.Const); ok && c.Pkg() == f.types {
			f.number(e, t)
		}
	}
}

// isCondition reports whether an expression decides, alone or as an operand.
func (f *finder) isCondition(e ast.Expr, parent ast.Node) bool {
	if b, ok := f.info.Types[e].Type.Underlying().(*types.Basic); !ok || b.Info()&types.IsBoolean == 0 {
		return false
	}
	switch p := parent.(type) {
	case *ast.IfStmt, *ast.ForStmt, *ast.ReturnStmt:
		return true
	case *ast.CaseClause:
		return f.isUntagged()
	case *ast.BinaryExpr:
		return p.Op == token.LAND || p.Op == token.LOR
	}
	return false
}

// isUntagged reports whether the innermost switch has no tag.
func (f *finder) isUntagged() bool {
	for _, n := range slices.Backward(f.stack) {
		if s, ok := n.(*ast.SwitchStmt); ok {
			return s.Tag == nil
		}
	}
	return false
}

// number adds one to a small number, and a half to a great one.
func (f *finder) number(e ast.Expr, t types.TypeAndValue) {
	b, ok := t.Type.Underlying().(*types.Basic)
	if !ok || t.Value == nil || b.Info()&types.IsNumeric == 0 || b.Info()&types.IsUntyped != 0 {
		return
	}
	f.wrap(e, "greater", "mutantNumber(%d, "+types.TypeString(t.Type, f.qualify)+"(", "))")
}
