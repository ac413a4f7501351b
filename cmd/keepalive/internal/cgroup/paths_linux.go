package cgroup

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Paths finds the paths of groups by the inodes of their directories, which eBPF
// calls their ids. The zero Paths is ready to use, by one goroutine.
type Paths struct {
	byInode map[uint64]string
	walked  time.Time
}

// walkEvery is the shortest time from one walk through all groups to the next.
const walkEvery = time.Second

// Of returns the path of a group as in /proc/PID/cgroup. It is "" for a group that is
// outside of this cgroup namespace, that has been removed, or that is less than a
// second old.
func (p *Paths) Of(inode uint64) string {
	found, ok := p.byInode[inode]
	if !ok && inode != 0 && time.Since(p.walked) >= walkEvery {
		p.Walk()
		found = p.byInode[inode]
		p.byInode[inode] = found
	}
	return found
}

// Walk learns the paths of the groups that there are. What can't be read is left out.
func (p *Paths) Walk() {
	p.walked = time.Now()
	p.byInode = make(map[uint64]string)
	root, err := Root()
	if err != nil {
		return
	}
	defer root.Close()
	root.walk(func(dir string) error {
		info, err := root.dir.Stat(dir)
		if err == nil {
			p.byInode[inodeOf(info)] = path.Join("/", dir)
		}
		return err
	})
}

func inodeOf(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// Inode returns the inode of the group's directory.
func (g *Group) Inode() (uint64, error) {
	info, err := g.dir.Stat(".")
	if err != nil {
		return 0, err
	}
	return inodeOf(info), nil
}

// PathOf returns the path of the group of a process, as in /proc/PID/cgroup. It is ""
// where that can't be read.
func PathOf(pid int) string {
	group, err := pathOf(strconv.Itoa(pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(group, " (deleted)")
}

// Unit returns the unit of systemd that a path of a group lies in, the innermost one
// if there are several. It is "" if there is none.
func Unit(group string) string {
	elements := strings.Split(group, "/")
	for _, name := range slices.Backward(elements) {
		if ext := path.Ext(name); ext != ".slice" && slices.Contains(unitTypes, ext) {
			return strings.TrimPrefix(name, "_")
		}
	}
	return ""
}
