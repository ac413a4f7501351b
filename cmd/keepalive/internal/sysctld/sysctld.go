// Package sysctld finds out which file sets a sysctl: sysctl.d(5).
package sysctld

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An Assignment is a line of a file that sets a sysctl.
type Assignment struct {
	File  string // absolute
	Line  int
	Value string
}

func (a Assignment) String() string { return fmt.Sprintf("%s:%d", a.File, a.Line) }

// dirs hold the files, in order of precedence: of files of the same name only
// the first counts.
var dirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// lastFile is read after all others by sysctl --system of procps.
const lastFile = "/etc/sysctl.conf"

// Find returns the assignment of name, such as "net.ipv4.tcp_keepalive_time",
// that counts when the system boots: the last one, in the order of the files'
// names. It is nil where there is none. Files that can't be read are named in
// the error, and the rest counts.
func Find(name string) (*Assignment, error) { return find("/", name) }

func find(root, name string) (found *Assignment, err error) {
	files, err := list(root)
	for _, file := range files {
		a, readErr := last(root, file, name)
		err = errors.Join(err, readErr)
		found = cmp.Or(a, found)
	}
	return found, err
}

// list returns the files in the order in which they are read.
func list(root string) ([]string, error) {
	byName := make(map[string]string)
	var errs []error
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if _, ok := byName[e.Name()]; !ok && filepath.Ext(e.Name()) == ".conf" {
				byName[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[name])
	}
	return append(files, lastFile), errors.Join(errs...)
}

// last returns the last assignment of name in a file.
func last(root, file, name string) (found *Assignment, err error) {
	f, err := os.Open(filepath.Join(root, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // or a link to /dev/null that leads nowhere
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		// A minus sign ignores errors. Slashes may stand for dots.
		key = strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(key, "-")), "/", ".")
		if match, err := path.Match(key, name); err == nil && match {
			found = &Assignment{File: file, Line: n, Value: strings.TrimSpace(value)}
		}
	}
	return found, lines.Err()
}
