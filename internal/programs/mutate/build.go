package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// helper is added to each package.
const helper = `package %s

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantActive, _ = strconv.Atoi(os.Getenv("MUTANT"))
	mutantSeen      [%d]atomic.Bool
	mutantReached   = func() *os.File {
		f, _ := os.OpenFile(os.Getenv("MUTANTS_REACHED"), os.O_APPEND|os.O_WRONLY, 0)
		return f
	}()
)

func mutantOn(id int) bool {
	if mutantReached != nil && !mutantSeen[id].Load() && !mutantSeen[id].Swap(true) {
		fmt.Fprintln(mutantReached, id)
	}
	return id == mutantActive
}

func mutantForce[T ~bool](id int, to, v T) T {
	if mutantOn(id) {
		return to
	}
	return v
}

func mutantError(id int, err error) error {
	if mutantOn(id) {
		return nil
	}
	return err
}

func mutantCompare[T cmp.Ordered](id int, op string, a, b T) bool {
	equal := mutantOn(id) == (op == "<" || op == ">")
	switch {
	case a == b:
		return equal
	case op == "<" || op == "<=":
		return a < b
	}
	return a > b
}

func mutantNumber[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr | ~float32 | ~float64](id int, v T) T {
	switch {
	case !mutantOn(id):
		return v
	case float64(v) < 1000:
		return v + 1
	}
	return v + v/2
}
`

// binary is the tests of a package.
type binary struct {
	path, dir string
	programs  string // the directory of the programs that it may run
}

// build compiles the tests of packages, and the programs that they run, with all
// mutants. Those that do not compile are dropped.
func build(dir string, packages []*code, mutants []*mutant, o options) ([]binary, error) {
	tested, err := list(append(o.packages, o.tests...))
	if err != nil {
		return nil, err
	}
	for range 100 {
		overlay, err := rewrite(dir, packages, mutants)
		if err != nil {
			return nil, err
		}
		var binaries []binary
		again := false
		for i, p := range tested {
			b := binary{path: filepath.Join(dir, strconv.Itoa(i)+".test"), dir: p.Dir}
			out, err := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-c", "-o", b.path, p.ImportPath).CombinedOutput()
			if err != nil {
				if !drop(mutants, out) {
					return nil, fmt.Errorf("%s: %w\n%s", p.ImportPath, err, out)
				}
				again = true
				break
			}
			if _, err := os.Stat(b.path); err == nil { // else it has no tests
				binaries = append(binaries, b)
			}
		}
		if !again {
			return binaries, buildPrograms(dir, overlay, binaries, o.programs)
		}
	}
	return nil, errors.New("too many mutants do not compile")
}

// buildPrograms compiles programs, all static, which every user may run.
func buildPrograms(dir, overlay string, binaries []binary, names []string) error {
	if len(names) == 0 {
		return nil
	}
	programs := filepath.Join(dir, "programs")
	cmd := exec.Command("go", append([]string{"build", "-overlay", overlay, "-o", programs + "/"}, names...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", names, err, out)
	}
	for i := range binaries {
		binaries[i].programs = programs
	}
	return errors.Join(os.Chmod(dir, 0o755), os.Chmod(programs, 0o755))
}

var compileError = regexp.MustCompile(`(?m)^(?:.*/)?([^/\s]+\.go):(\d+):\d+: `)

// drop drops the mutants of the lines that do not compile.
func drop(mutants []*mutant, out []byte) (dropped bool) {
	for _, e := range compileError.FindAllSubmatch(out, -1) {
		line, _ := strconv.Atoi(string(e[2]))
		for _, m := range mutants {
			if m.file == string(e[1]) && m.line == line && !m.dropped {
				m.dropped, dropped = true, true
			}
		}
	}
	if !dropped {
		log.Print("no mutant is to blame")
	}
	return dropped
}

// rewrite writes the packages with their mutants, and returns the overlay for go.
func rewrite(dir string, packages []*code, mutants []*mutant) (string, error) {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for i, p := range packages {
		add := func(path, name string, content []byte) error {
			overlay.Replace[path] = filepath.Join(dir, strconv.Itoa(i), name)
			return errors.Join(os.MkdirAll(filepath.Dir(overlay.Replace[path]), 0o700), os.WriteFile(overlay.Replace[path], content, 0o600))
		}
		err := add(filepath.Join(p.Dir, "mutants.go"), "mutants.go", fmt.Appendf(nil, helper, p.Name, len(mutants)+1))
		for path, edits := range p.edits {
			source, readErr := os.ReadFile(path)
			err = errors.Join(err, readErr, add(path, filepath.Base(path), apply(source, edits, mutants)))
		}
		if err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, text, 0o600)
}

// apply edits a source. The edits at an offset keep their order.
func apply(source []byte, edits []edit, mutants []*mutant) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int { return a.offset - b.offset })
	var out bytes.Buffer
	from := 0
	for _, e := range edits {
		if e.mutant != 0 && mutants[e.mutant-1].dropped {
			continue
		}
		out.Write(source[from:e.offset])
		out.WriteString(e.text)
		from = e.offset + e.length
	}
	out.Write(source[from:])
	return out.Bytes()
}
