package cgroup

import (
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An OldGroup is a control group of version 1 that has a process.
type OldGroup struct{ Path, Controllers string }

// systemdsOwn is the hierarchy in which systemd has its units, where those are not in
// one of version 2.
const systemdsOwn = "name=systemd"

// OldGroups returns the groups of all visible processes, without the roots.
func OldGroups() (found []OldGroup, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the process has ended
		}
		found = append(found, oldGroups(string(text))...)
	}
	slices.SortFunc(found, func(a, b OldGroup) int { return strings.Compare(a.Path+a.Controllers, b.Path+b.Controllers) })
	return slices.Compact(found), err
}

// oldGroups returns the groups of a process, from the text of its /proc/PID/cgroup.
func oldGroups(text string) (found []OldGroup) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 && fields[1] != "" && fields[2] != "/" {
			found = append(found, OldGroup{fields[2], fields[1]})
		}
	}
	return found
}

// HasOldUnits reports whether the units of systemd are among the old groups, and not
// among those of version 2.
func HasOldUnits(old []OldGroup, groups iter.Seq[string]) bool {
	for path := range groups {
		if strings.HasSuffix(path, ".slice") {
			return false
		}
	}
	return slices.ContainsFunc(old, func(g OldGroup) bool { return g.Controllers == systemdsOwn })
}
