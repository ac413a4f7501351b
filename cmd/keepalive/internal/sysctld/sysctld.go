// Package sysctld finds out which file sets a sysctl: sysctl.d(5).
package sysctld

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// An Assignment is a line of a file that sets a sysctl.
type Assignment struct {
	File  string // absolute
	Line  int
	Value string // as it is written to /proc/sys
}

func (a Assignment) String() string { return fmt.Sprintf("%s:%d", a.File, a.Line) }

// Int returns the number that the kernel takes Value for: in octal after 0, in
// hexadecimal after 0x, and without what stands behind white space, such as a
// comment. It returns false for what the kernel refuses. See proc_get_long in
// kernel/sysctl.c.
func (a Assignment) Int() (n int, ok bool) {
	fields := strings.Fields(a.Value)
	if len(fields) == 0 {
		return 0, false
	}
	digits, base := strings.TrimPrefix(fields[0], "-"), 10
	switch lower := strings.ToLower(digits); {
	case strings.HasPrefix(lower, "0x"):
		digits, base = digits[2:], 16
	case strings.HasPrefix(lower, "0"):
		base = 8
	}
	parsed, err := strconv.ParseUint(digits, base, 31)
	if fields[0][0] == '-' {
		parsed = -parsed
	}
	return int(parsed), err == nil
}

// dirs hold the files, in order of precedence: of files of the same name only
// the first counts.
var dirs = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// lastFile is read after all others by sysctl --system of procps.
const lastFile = "/etc/sysctl.conf"

// Find returns the assignment of name, such as "net.ipv4.tcp_keepalive_time",
// that is in force once the system has booted. It is nil where there is none.
//
// The files are read in the order of their names. A later line replaces an
// earlier one with the same key. A key that is a pattern sets what no other key
// names, and a line that is a key after a minus sign, without a value, keeps
// patterns from setting it.
//
// Files that can't be read are named in the error, and the rest applies. What is
// no regular file is left out, such as the link to /dev/null that masks a file.
func Find(name string) (*Assignment, error) { return find("/", name) }

func find(root, name string) (*Assignment, error) {
	files, err := list(root)
	key := normalize(name)
	var explicit, pattern *Assignment
	named := false
	for _, file := range files {
		lines, readErr := read(filepath.Join(root, file))
		err = errors.Join(err, readErr)
		for i, line := range lines {
			s, ok := parse(line)
			switch {
			case !ok:
			case s.key == key:
				named, explicit = true, s.assignment(file, i+1)
			case s.isPattern() && s.matches(key):
				pattern = cmp.Or(s.assignment(file, i+1), pattern)
			}
		}
	}
	if named {
		return explicit, err
	}
	return pattern, err
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

// read returns the lines of a regular file, and none of any other.
func read(file string) ([]string, error) {
	info, err := os.Stat(file) // not Open, which waits for the writer of a pipe
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	return strings.Split(string(text), "\n"), err
}

// A setting is a line of a file.
type setting struct {
	key   string // with slashes
	value string
	set   bool // there is a value
}

// parse returns the setting of a line, and false where it is none.
func parse(line string) (s setting, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return s, false
	}
	key, value, set := strings.Cut(line, "=")
	key, minus := strings.CutPrefix(key, "-") // with a value: ignore that the kernel refuses it
	return setting{normalize(strings.TrimSpace(key)), strings.TrimSpace(value), set}, set || minus
}

// normalize returns a key with slashes between its parts. Where it has dots, a
// slash stands for a dot.
func normalize(key string) string {
	if i := strings.IndexAny(key, "/."); i >= 0 && key[i] == '.' {
		key = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	return strings.TrimPrefix(path.Clean(key), "/")
}

func (s setting) isPattern() bool { return strings.ContainsAny(s.key, "*?[") }

func (s setting) matches(key string) bool {
	match, err := path.Match(s.key, key)
	return err == nil && match
}

// assignment returns nil where the setting has no value.
func (s setting) assignment(file string, line int) *Assignment {
	if !s.set {
		return nil
	}
	return &Assignment{File: file, Line: line, Value: s.value}
}
