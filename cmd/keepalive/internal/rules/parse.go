package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
)

// Load reads the rules of files, and of those in directories whose names end in
// .yaml or .yml, in the order of their names. It returns an error for every mistake,
// with file, line and column.
func Load(paths ...string) ([]*Rule, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	var p parser
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p.file = file
		p.parse(text)
	}
	if len(p.problems) == 0 {
		p.compare()
	}
	if len(p.problems) == 0 && len(p.rules) == 0 {
		return nil, fmt.Errorf("%s: there is no rule, want a file such as\n%s", strings.Join(paths, ", "), example)
	}
	return p.rules, errors.Join(p.problems...)
}

const example = `rules:
  - policy: idle=60s,interval=5s,count=3
    mode: tighten`

func expand(paths []string) (files []string, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path) // in order
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			// A directory that Kubernetes mounts has links, and ..data.
			if ext := filepath.Ext(e.Name()); (ext != ".yaml" && ext != ".yml") || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			file := filepath.Join(path, e.Name())
			if err := isRegular(file); err != nil {
				return nil, err
			}
			files = append(files, file)
		}
	}
	return files, nil
}

// isRegular returns an error for what is no file. To open a pipe would wait for a
// writer.
func isRegular(file string) error {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file, want another name: files that end in .yaml or .yml are rules", file)
	}
	return err
}

// A parser keeps the problems, so that all of them are told at once.
type parser struct {
	file     string
	rules    []*Rule
	problems []error
}

func (p *parser) fail(n *yaml.Node, format string, arguments ...any) {
	p.problems = append(p.problems, fmt.Errorf("%v: %w", p.position(n), fmt.Errorf(format, arguments...)))
}

func (p *parser) position(n *yaml.Node) Position { return Position{p.file, n.Line, n.Column} }

func (p *parser) parse(text []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, more yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return // it is empty
	}
	if err == nil {
		if err = decoder.Decode(&more); err == nil {
			p.fail(&more, "this is a second document, want one")
			return
		}
	}
	if !errors.Is(err, io.EOF) {
		p.problems = append(p.problems, syntaxError(p.file, err))
		return
	}
	p.mapping(document.Content[0], "the file", keys{"rules": func(n *yaml.Node) {
		if p.kind(n, yaml.SequenceNode, "rules", "a list of rules") {
			for _, rule := range n.Content {
				p.rule(resolve(rule))
			}
		}
	}})
}

// syntaxError names the line that package yaml names. It does not tell the column.
func syntaxError(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s:%s: %s", file, m[1], strings.TrimPrefix(text, m[0]))
	}
	return fmt.Errorf("%s: %s", file, text)
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// keys are what a mapping can have.
type keys map[string]func(*yaml.Node)

func (p *parser) mapping(n *yaml.Node, what string, known keys) {
	if !p.kind(n, yaml.MappingNode, what, "a mapping with "+known.names()) {
		return
	}
	seen := make(map[string]bool)
	for pair := range slices.Chunk(n.Content, 2) {
		key, value := pair[0], pair[1]
		set, ok := known[key.Value]
		switch {
		case !ok:
			p.fail(key, "unknown key %q, want one of %s", key.Value, known.names())
		case seen[key.Value]:
			p.fail(key, "%s is given twice", key.Value)
		default:
			set(resolve(value))
		}
		seen[key.Value] = true
	}
}

func (k keys) names() string {
	var names []string
	for name := range k {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (p *parser) kind(n *yaml.Node, kind yaml.Kind, what, want string) bool {
	if n.Kind == kind && n.Tag != "!!null" {
		return true
	}
	p.fail(n, "%s is not %s", what, want)
	return false
}

// texts calls set for the text, or the texts, of a node.
func (p *parser) texts(n *yaml.Node, what string, set func(string) error) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
		if len(nodes) == 0 {
			p.fail(n, "%s is an empty list, which nothing matches: leave it out, or name something", what)
		}
	}
	for _, each := range nodes {
		p.text(resolve(each), what, set)
	}
}

// text calls set for the text of a node.
func (p *parser) text(n *yaml.Node, what string, set func(string) error) {
	if !p.kind(n, yaml.ScalarNode, what, "a text") {
		return
	}
	if err := set(n.Value); err != nil {
		p.fail(n, "%s: %w", what, err)
	}
}

func (p *parser) rule(n *yaml.Node) {
	r := &Rule{Position: p.position(n)}
	before := len(p.problems)
	var policy, plan, mode, mptcp *yaml.Node
	note := func(to **yaml.Node) func(*yaml.Node) { return func(n *yaml.Node) { *to = n } }
	p.mapping(n, "a rule", keys{
		"remote": func(n *yaml.Node) { p.texts(n, "remote", addEndpoint(&r.Remote)) },
		"local":  func(n *yaml.Node) { p.texts(n, "local", addEndpoint(&r.Local)) },
		"unit": func(n *yaml.Node) {
			p.texts(n, "unit", func(s string) error {
				u, err := parseUnit(s)
				r.Units = append(r.Units, u)
				return err
			})
		},
		"cgroup": func(n *yaml.Node) {
			p.texts(n, "cgroup", func(s string) error {
				g, err := parseGroup(s)
				r.Groups = append(r.Groups, g)
				return err
			})
		},
		"policy": note(&policy), "plan": note(&plan), "mode": note(&mode), "mptcp": note(&mptcp),
	})
	if len(p.problems) > before {
		return
	}
	p.policyOrPlan(n, r, policy, plan)
	p.mode(n, r, mode)
	p.mptcp(r, mptcp)
	if err := r.contradiction(); err != nil {
		p.fail(n, "%w", err)
	}
	p.rules = append(p.rules, r)
}

func addEndpoint(to *[]endpoints.Endpoint) func(string) error {
	return func(s string) error {
		e, err := endpoints.Parse(s)
		if e.Zone != "" {
			err = fmt.Errorf("%q has a zone, which a rule can't match: want the address without %%%s", s, e.Zone)
		}
		*to = append(*to, e)
		return err
	}
}

func (p *parser) mode(rule *yaml.Node, r *Rule, n *yaml.Node) {
	if !r.HasAddresses() && !r.HasGroups() {
		r.Mode = Tighten
	}
	if n != nil {
		i := slices.Index(modes, n.Value)
		if i < 0 {
			p.fail(n, "mode is %s, want set or tighten", strconv.Quote(n.Value))
			return
		}
		r.Mode = Mode(i)
	}
	if r.Mode == Tighten && r.Config.Disable {
		if n == nil {
			n = rule
		}
		p.fail(n, "the policy is off, and tighten never loosens: want mode: set, or a policy that is not off")
	}
}

func (p *parser) mptcp(r *Rule, n *yaml.Node) {
	switch {
	case n == nil:
	case n.Value != "refuse":
		p.fail(n, "mptcp is %q, want refuse, or leave it out, which leaves MPTCP alone", n.Value)
	case r.HasAddresses():
		p.fail(n, "mptcp: refuse decides when a socket is made, whose addresses are unknown: want it in a rule without remote and local")
	default:
		r.RefuseMPTCP = true
	}
}

// compare looks for rules that others leave nothing to.
func (p *parser) compare() {
	rows := 0
	for i, r := range p.rules {
		if shadow := r.shadow(p.rules[:i]); shadow != nil {
			p.problems = append(p.problems, fmt.Errorf("%v: the rule can never match: the rule at %v matches first", r.Position, shadow.Position))
		}
		rows += len(r.Combinations())
	}
	if rows > MaxRows {
		p.problems = append(p.problems, fmt.Errorf("%s: the rules have %d pairs of a remote and a local end, and %d are the most: put addresses together", p.rules[0].File, rows, MaxRows))
	}
}

// MaxRows is how many pairs of a remote and a local end all rules can have.
const MaxRows = 1024
