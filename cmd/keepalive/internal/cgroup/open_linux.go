package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Own returns the group of the calling process.
func Own() (*Group, error) {
	path, err := pathOf("self")
	if err != nil {
		return nil, err
	}
	return openPath(path, fmt.Sprintf("cgroup %s of this process", path))
}

// Root returns the group above all others in this cgroup namespace.
func Root() (*Group, error) { return openPath("/", "the root of cgroup v2") }

// OfProcess returns the group of a process. The root is an error: on a machine
// whose services have groups of cgroup v1, all processes may be in it.
func OfProcess(pid int) (*Group, error) {
	path, err := pathOf(strconv.Itoa(pid))
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("there is no process %d, or /proc hides it", pid)
	case err != nil:
		return nil, err
	case path == "/":
		return nil, fmt.Errorf("process %d is in the root of cgroup v2, with processes that have nothing to do with it, as where services have groups of cgroup v1: "+
			"want --all for every process, or keepalive set --pid %d for the connections that it has open", pid, pid)
	case strings.HasSuffix(path, " (deleted)"):
		return nil, fmt.Errorf("the cgroup of process %d has been removed: %s", pid, path)
	}
	return openPath(path, fmt.Sprintf("cgroup %s of process %d", path, pid))
}

// OfUnit returns the group of a unit of the system's systemd, whose name may lack
// ".service". It reads the hierarchy, as systemd-cgls(1) does: a unit has the
// directory of its name, below those of the slices that it is in. Units of a
// user's systemd lie below a service, and are not found.
func OfUnit(name string) (*Group, error) {
	if name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is no unit of systemd, want a name such as redis-server or user.slice", name)
	}
	if name == "-.slice" {
		return nil, fmt.Errorf("unit %s: %w", name, errRoot)
	}
	root, err := Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.unit(name)
}

// unitTypes are those that have processes, see systemd.unit(5).
var unitTypes = []string{".service", ".scope", ".slice", ".socket", ".mount", ".swap"}

func (g *Group) unit(name string) (*Group, error) {
	if !slices.Contains(unitTypes, path.Ext(name)) {
		name += ".service"
	}
	dir, err := findUnit(g.dir.FS(), ".", name)
	if err != nil {
		return nil, fmt.Errorf("unit %s: %w", name, err)
	}
	if dir == "" {
		return nil, fmt.Errorf("unit %s has %w", name, errNoUnit)
	}
	found := &Group{path: path.Join(g.path, dir)}
	if found.dir, err = g.dir.OpenRoot(dir); err != nil {
		return nil, fmt.Errorf("unit %s: %w", name, err)
	}
	return found, nil
}

// errNoUnit is also what a unit returns that restarts.
var errNoUnit = errors.New("no group of cgroup v2: it is not running, or its systemd uses cgroup v1 alone")

// findUnit returns the directory of a unit below dir, or "". A name that could be
// that of a file of the kernel has an underscore in front.
func findUnit(fsys fs.FS, dir, name string) (string, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		if dir != "." && isGone(err) {
			return "", nil
		}
		return "", err
	}
	for _, e := range entries {
		if e.IsDir() && (e.Name() == name || e.Name() == "_"+name) {
			return path.Join(dir, e.Name()), nil
		}
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasSuffix(e.Name(), ".slice") {
			continue
		}
		if found, err := findUnit(fsys, path.Join(dir, e.Name()), name); found != "" || err != nil {
			return found, err
		}
	}
	return "", nil
}

const wantPath = ", want a directory of cgroup v2, or a path as in /proc/PID/cgroup, such as /system.slice/redis-server.service"

var errMissing = errors.New("it does not exist" + wantPath)

var errRoot = errors.New("it is the root, which holds every process, want --all for that")

// Open returns the group that path names: a directory of cgroup v2, or else an
// absolute path as /proc/PID/cgroup shows it. The root is an error, since a script
// that fails to find a path easily makes an empty one, or "." or "/", of it.
func Open(path string) (*Group, error) {
	if path == "" {
		return nil, errors.New("the path of the cgroup is empty" + wantPath)
	}
	g, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", path, err)
	}
	if g.isRoot() {
		g.Close()
		return nil, fmt.Errorf("cgroup %s: %w", path, errRoot)
	}
	return g, nil
}

// OpenTop returns the group of a directory of cgroup v2, which may be the root.
func OpenTop(dir string) (*Group, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if stat.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, fmt.Errorf("%s is no directory of cgroup v2", dir)
	}
	root, err := os.OpenRoot(dir)
	return &Group{path: dir, dir: root}, err
}

func open(name string) (*Group, error) {
	var stat unix.Statfs_t
	noFile := unix.Statfs(name, &stat)
	if noFile == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC {
		dir, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		directory, err := filepath.Abs(name)
		return &Group{path: directory, dir: dir}, err
	}
	if !path.IsAbs(name) {
		return nil, errors.New("it is neither absolute nor a directory of cgroup v2" + wantPath)
	}
	elements := strings.Split(name, "/")
	switch {
	case elements[1] == "..": // as in /proc/PID/cgroup
		return nil, errOutside
	case slices.Contains(elements, ".."), slices.Contains(elements, "."):
		return nil, errors.New("it has . or .. in it" + wantPath)
	}
	dir, err := openBelowMount(path.Clean(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = errMissing
		if noFile == nil {
			err = errors.New("it is not of cgroup v2" + wantPath)
		}
	}
	return &Group{path: path.Clean(name), dir: dir}, err
}

// isRoot reports whether the group is the root of the hierarchy, or of this
// cgroup namespace.
func (g *Group) isRoot() bool {
	own, err := g.dir.Stat(".")
	if err != nil {
		return false
	}
	const hierarchy = 1 // cgroup_root_from_kf: the inode of the first kernfs node
	if stat, ok := own.Sys().(*syscall.Stat_t); ok && stat.Ino == hierarchy {
		return true
	}
	root, err := Root()
	if err != nil {
		return false // and path is not "/", which is opened in the same way
	}
	defer root.Close()
	other, err := root.dir.Stat(".")
	return err == nil && os.SameFile(own, other)
}

// openPath opens the group with a path of /proc/PID/cgroup, which errors call
// name.
func openPath(path, name string) (*Group, error) {
	dir, err := openBelowMount(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Group{path: path, dir: dir}, nil
}

// pathOf returns the path of the group of a process, or of "self".
func pathOf(process string) (string, error) {
	text, err := os.ReadFile("/proc/" + process + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", errors.New("this system has no cgroup v2")
}
