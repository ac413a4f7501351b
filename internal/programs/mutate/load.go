package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// code is a package whose code is changed.
type code struct {
	Dir, ImportPath, Name, Export string
	GoFiles                       []string

	fset  *token.FileSet
	files map[string]*ast.File // by path
	info  *types.Info
	types *types.Package

	edits map[string][]edit // by path
}

// load parses packages and finds the types of their expressions.
func load(names []string) ([]*code, error) {
	wanted, err := list(names)
	if err != nil {
		return nil, err
	}
	all, err := list(append([]string{"-deps"}, names...))
	if err != nil {
		return nil, err
	}
	exports := make(map[string]string)
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}
	for _, p := range wanted {
		if err := p.check(exports); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}

func list(args []string) (packages []*code, err error) {
	cmd := exec.Command("go", append([]string{"list", "-export", "-json=Dir,ImportPath,Name,Export,GoFiles"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(out); err == nil; {
		p := new(code)
		if err = decoder.Decode(p); err == nil {
			packages = append(packages, p)
		}
	}
	if err != io.EOF {
		return nil, err
	}
	return packages, cmd.Wait()
}

func (p *code) check(exports map[string]string) error {
	p.fset, p.files = token.NewFileSet(), make(map[string]*ast.File)
	var files []*ast.File
	for _, name := range p.GoFiles {
		path := filepath.Join(p.Dir, name)
		file, err := parser.ParseFile(p.fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p.files[path] = file
		files = append(files, file)
	}
	p.info = &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object),
		Defs: make(map[*ast.Ident]types.Object), Selections: make(map[*ast.SelectorExpr]*types.Selection),
	}
	lookup := func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	}
	var errs []error
	config := types.Config{Importer: importer.ForCompiler(p.fset, "gc", lookup), Error: func(err error) { errs = append(errs, err) }}
	p.types, _ = config.Check(p.ImportPath, p.fset, files, p.info)
	return errors.Join(errs...)
}
