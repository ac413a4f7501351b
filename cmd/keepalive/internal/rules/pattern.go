package rules

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A glob is a text in which * stands for any characters.
type glob string

func (g glob) has(s string) bool {
	head, rest, star := strings.Cut(string(g), "*")
	if !star {
		return string(g) == s
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for i := range len(s) + 1 {
		if glob(rest).has(s[i:]) {
			return true
		}
	}
	return false
}

// covers reports whether g has whatever other has: a * can only be covered by one.
func (g glob) covers(other glob) bool { return g.has(string(other)) }

// meets reports whether there is a text that both have.
func (g glob) meets(other glob) bool {
	switch {
	case g == "":
		return strings.Trim(string(other), "*") == ""
	case other == "":
		return strings.Trim(string(g), "*") == ""
	case g[0] == '*':
		return g[1:].meets(other) || g.meets(other[1:])
	case other[0] == '*':
		return other.meets(g)
	}
	return g[0] == other[0] && g[1:].meets(other[1:])
}

// A Unit is a unit of systemd, or several.
type Unit struct{ name glob }

// unitTypes are those that have processes, see systemd.unit(5).
var unitTypes = []string{".service", ".scope", ".slice", ".socket", ".mount", ".swap"}

func parseUnit(s string) (Unit, error) {
	switch {
	case s == "" || strings.Contains(s, "/"):
		return Unit{}, fmt.Errorf("%q is no unit of systemd, want a name such as redis-server, app-*.scope or user.slice", s)
	case s == "-.slice":
		return Unit{}, errors.New("-.slice is the root, which has every process: leave unit out for that")
	case !slices.Contains(unitTypes, path.Ext(s)):
		s += ".service"
	}
	return Unit{glob(s)}, nil
}

// Has reports whether a control group is that of the unit, or below it. A unit has
// the directory of its name, below those of the slices that it is in.
func (u Unit) Has(group string) bool {
	for element := range strings.SplitSeq(strings.TrimPrefix(group, "/"), "/") {
		if u.name.has(unescaped(element)) {
			return true
		}
		if !strings.HasSuffix(element, ".slice") {
			return false
		}
	}
	return false
}

// unescaped returns the name of the unit that has a directory. Systemd puts a _ before
// a name that the kernel has a file of, such as io.service, or that begins with one.
func unescaped(element string) string { return strings.TrimPrefix(element, "_") }

// meets reports whether a group can be of both.
func (u Unit) meets(g Group) bool {
	for _, element := range g.elements {
		if u.name.meets(glob(unescaped(string(element)))) {
			return true
		}
		if !element.meets("*.slice") {
			return false
		}
	}
	return true
}

// coversGroup reports whether every group of g is the unit's.
func (u Unit) coversGroup(g Group) bool {
	for _, element := range g.elements {
		if u.name.covers(glob(unescaped(string(element)))) {
			return true
		}
		if !strings.HasSuffix(string(element), ".slice") {
			return false
		}
	}
	return false
}

// A Group is a control group and those below it, or several.
type Group struct{ elements []glob }

func parseGroup(s string) (Group, error) {
	elements := strings.Split(strings.Trim(s, "/"), "/")
	switch {
	case !strings.HasPrefix(s, "/"):
		return Group{}, fmt.Errorf("%q is no path of a control group, want one as in /proc/PID/cgroup, such as /system.slice/redis-server.service or /kubepods.slice/*", s)
	case strings.Trim(s, "/") == "":
		return Group{}, fmt.Errorf("%q is the root, which has every process: leave cgroup out for that", s)
	case slices.Contains(elements, "") || slices.Contains(elements, ".") || slices.Contains(elements, ".."):
		return Group{}, fmt.Errorf("%q has an element that no control group has, want a path as in /proc/PID/cgroup", s)
	}
	var g Group
	for _, e := range elements {
		g.elements = append(g.elements, glob(e))
	}
	return g, nil
}

// Has reports whether a group is the group or below it.
func (g Group) Has(group string) bool {
	elements := strings.Split(strings.Trim(group, "/"), "/")
	if len(elements) < len(g.elements) {
		return false
	}
	for i, e := range g.elements {
		if !e.has(elements[i]) {
			return false
		}
	}
	return true
}

func (g Group) covers(other Group) bool {
	if len(other.elements) < len(g.elements) {
		return false
	}
	for i, e := range g.elements {
		if !e.covers(other.elements[i]) {
			return false
		}
	}
	return true
}
