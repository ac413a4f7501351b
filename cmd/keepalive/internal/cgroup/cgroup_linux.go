// Package cgroup makes, watches and removes control groups of version 2, which
// cgroups(7) explains.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Group is a control group of version 2.
type Group struct {
	path   string // as in /proc/PID/cgroup
	dir    *os.Root
	parent *os.Root // nil but for a group that New made
	name   string   // below parent
}

// New makes a group below g.
func (g *Group) New() (*Group, error) {
	for {
		name := fmt.Sprintf("keepalive-%08x", rand.Uint32())
		err := g.dir.Mkdir(name, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cgroup below %s: %w", g.path, g.explain(err))
		}
		made := &Group{path: path.Join(g.path, name), parent: g.dir, name: name}
		if made.dir, err = g.dir.OpenRoot(name); err != nil {
			return nil, errors.Join(err, made.Remove())
		}
		return made, nil
	}
}

// explain says what to do about a group that can't be made below g.
func (g *Group) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: run it as root, or in a group that belongs to this user, as systemd-run --user --scope -p Delegate=yes makes one", err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: a container or a unit with ProtectControlGroups= has to be given a cgroup file system that it can write", err)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: raise cgroup.max.descendants or cgroup.max.depth", err)
	}
	return err
}

// Path returns the path as in /proc/PID/cgroup, or the directory given to Open.
func (g *Group) Path() string { return g.path }

// Directory opens the group's directory.
func (g *Group) Directory() (*os.File, error) { return g.dir.Open(".") }

// DirectoryName returns a path of the group's directory.
func (g *Group) DirectoryName() string { return g.dir.Name() }

// Close closes the group's directory.
func (g *Group) Close() error { return g.dir.Close() }

// Processes returns the processes of the group and of those below it.
func (g *Group) Processes() ([]int, error) {
	var pids []int
	err := g.walk(func(dir string) error {
		text, err := g.dir.ReadFile(path.Join(dir, "cgroup.procs"))
		if errors.Is(err, unix.EOPNOTSUPP) { // a threaded group: the one above lists its processes
			return nil
		}
		pids = append(pids, pidsIn(text)...)
		return err
	})
	return pids, err
}

// ProcessesOf returns the processes of a group by its path below g. It leaves out
// groups below that. A threaded group has threads alone, and their processes belong to
// a group above it: ProcessesOf returns them.
func (g *Group) ProcessesOf(group string) ([]int, error) {
	text, err := g.dir.ReadFile(path.Join(".", group, "cgroup.procs"))
	if errors.Is(err, unix.EOPNOTSUPP) && group != "/" {
		return g.ProcessesOf(path.Dir(group))
	}
	return pidsIn(text), err
}

func pidsIn(text []byte) (pids []int) {
	for field := range bytes.FieldsSeq(text) {
		if pid, err := strconv.Atoi(string(field)); err == nil && pid != 0 { // 0 is one of another pid namespace
			pids = append(pids, pid)
		}
	}
	return pids
}

// walk calls f for the group's directory and for each one below it, parents
// first. Those that vanish meanwhile are no error.
func (g *Group) walk(f func(dir string) error) error { return g.walkFrom(".", f) }

// walkFrom does not use package fs, which wants names to be UTF-8.
func (g *Group) walkFrom(group string, f func(dir string) error) error {
	err := f(group)
	var names []string
	if err == nil {
		names, err = g.namesBelow(group)
	}
	if group != "." && isGone(err) {
		return nil
	}
	for _, name := range names {
		if err := g.walkFrom(path.Join(group, name), f); err != nil {
			return err
		}
	}
	return err
}

func (g *Group) namesBelow(group string) ([]string, error) {
	dir, err := g.dir.Open(group)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return namesBelow(dir)
}

// IsGone reports whether err says that a group has been removed.
func IsGone(err error) bool { return isGone(err) }

// isGone reports whether err says that the group has been removed.
func isGone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) }

// Wait returns once no process is left in the group or below it.
func (g *Group) Wait() error {
	events, err := g.dir.Open("cgroup.events")
	if err != nil {
		return err
	}
	defer events.Close()
	text := make([]byte, 256)
	for {
		n, err := events.ReadAt(text, 0)
		if n == 0 {
			return err
		}
		if bytes.Contains(text[:n], []byte("populated 0")) {
			return nil
		}
		// What has changed since the read ends the poll: kernfs_generic_poll.
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
	}
}

// Remove removes a group that New made, with those that its processes made
// below it, and closes it. It fails while there are processes in one of them.
func (g *Group) Remove() error {
	var dirs []string
	if err := g.walk(func(dir string) error { dirs = append(dirs, dir); return nil }); err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		err := g.parent.Remove(path.Join(g.name, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return g.Close()
}

// IsGone reports whether somebody has removed the group.
func (g *Group) IsGone() bool {
	procs, err := g.dir.Open("cgroup.procs")
	if err == nil {
		procs.Close()
	}
	return isGone(err)
}
