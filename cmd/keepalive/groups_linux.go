package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// groupMembers are the processes of the control groups that one flag names. They
// are ORed, as the values of each flag are.
type groupMembers map[string]map[int]bool // by flag and value, then by process

func (g groupMembers) has(p sockets.Process) bool {
	for _, members := range g {
		if members[p.PID] {
			return true
		}
	}
	return false
}

// missing returns the flags of which no process is among some.
func (g groupMembers) missing(processes []sockets.Process) (flags []string) {
	for flag, members := range g {
		if !slices.ContainsFunc(processes, func(p sockets.Process) bool { return members[p.PID] }) {
			flags = append(flags, flag)
		}
	}
	slices.Sort(flags)
	return flags
}

// resolve finds out which processes the control groups have now.
func (s *selection) resolve() error {
	s.groups = nil
	for _, flag := range []struct {
		name   string
		values []string
		open   func(string) (*cgroup.Group, error)
	}{
		{"--cgroup", s.cgroups, cgroup.Open},
		{"--unit", s.units, cgroup.OfUnit},
	} {
		if len(flag.values) == 0 {
			continue
		}
		members := make(groupMembers)
		for _, value := range flag.values {
			processes, err := processesOf(value, flag.open)
			if err != nil {
				return err
			}
			members[flag.name+" "+value] = processes
		}
		s.groups = append(s.groups, members)
	}
	return nil
}

func processesOf(name string, open func(string) (*cgroup.Group, error)) (map[int]bool, error) {
	group, err := open(name)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	pids, err := group.Processes()
	if err != nil {
		return nil, err
	}
	processes := make(map[int]bool, len(pids))
	for _, pid := range pids {
		processes[pid] = true
	}
	return processes, nil
}

// namespaces are the inodes of the network namespaces that are selected, or none for
// all.
type namespaces []uint64

func (n namespaces) has(inode uint64) bool { return len(n) == 0 || slices.Contains(n, inode) }

func (n *namespaces) Type() string { return "namespace" }

func (n *namespaces) String() string { return "" }

// Set takes a name of ip-netns(8), a path such as /proc/PID/ns/net, or an inode as
// lsns(8) shows it.
func (n *namespaces) Set(s string) error {
	if inode, err := strconv.ParseUint(s, 10, 64); err == nil {
		*n = append(*n, inode)
		return nil
	}
	path := s
	if !strings.Contains(s, "/") {
		path = filepath.Join("/run/netns", s)
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return fmt.Errorf("%q is no network namespace (%w), want a name of ip-netns(8), a path such as /proc/PID/ns/net, or an inode", s, &os.PathError{Op: "stat", Path: path, Err: err})
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || int64(fs.Type) != unix.NSFS_MAGIC {
		return fmt.Errorf("%s is no network namespace, want a file such as /proc/PID/ns/net", path)
	}
	*n = append(*n, stat.Ino)
	return nil
}
