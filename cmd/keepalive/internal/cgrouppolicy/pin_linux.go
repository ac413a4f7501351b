package cgrouppolicy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// layout is that of the maps and of what they have. Another one begins a directory of
// its own, so that a new binary neither reads nor writes what an old one has left.
const layout = "layout-1"

const layouts = "layout-*"

// Pins are a directory of a BPF file system that keeps rules in force when the
// process ends that has made them. One process has it at a time.
type Pins struct {
	path string
	dir  *os.File
}

// OpenPins makes the directory if it is missing. Only root may enter it.
func OpenPins(path string) (*Pins, error) {
	p, err := openPins(filepath.Clean(path)) // what is above dir/ is not dir
	if err != nil {
		return nil, fmt.Errorf("pins in %s: %w", path, err)
	}
	return p, nil
}

func openPins(path string) (*Pins, error) {
	const bpffs = 0xcafe4a11 // BPF_FS_MAGIC
	var stat unix.Statfs_t
	above := filepath.Dir(path)
	if err := unix.Statfs(above, &stat); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: above, Err: err}
	}
	if int64(stat.Type) != bpffs {
		return nil, fmt.Errorf("%s is no BPF file system, want one there: mount -t bpf bpf %[1]s", above)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := isPrivate(dir); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errors.New("another keepalive apply has them: end it first")
		}
		return nil, os.NewSyscallError("flock", err)
	}
	return &Pins{path, dir}, nil
}

// isPrivate returns an error where others than the caller may enter a directory, and
// attach what is pinned there.
func isPrivate(dir *os.File) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && (int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0) {
		return fmt.Errorf("the directory belongs to user %d and has mode %#o, want one of the caller's own with mode 0700", stat.Uid, info.Mode().Perm())
	}
	return nil
}

// Close lets another process have the pins. A process that another goroutine is
// starting has a copy of the descriptor for a moment, with the lock.
func (p *Pins) Close() error {
	return errors.Join(unix.Flock(int(p.dir.Fd()), unix.LOCK_UN), p.dir.Close())
}

// Remove removes the directory, which ends the rules.
func (p *Pins) Remove() error {
	dirs, err := filepath.Glob(filepath.Join(p.path, layouts))
	for _, dir := range dirs {
		err = errors.Join(err, removePins(dir))
	}
	return errors.Join(err, os.Remove(p.path), p.Close())
}

// removePins removes a directory of pins. Programs are detached first: the kernel
// takes its time with a link that is no longer pinned.
func removePins(dir string) error {
	links, err := filepath.Glob(filepath.Join(dir, linkPrefix+"*"))
	for _, file := range links {
		err = errors.Join(err, detach(file))
	}
	entries, errRead := os.ReadDir(dir)
	err = errors.Join(err, errRead)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(err, os.Remove(dir))
}

const linkPrefix = "link_"

func detach(file string) error {
	l, err := link.LoadPinnedLink(file, nil)
	if err != nil {
		return err
	}
	return errors.Join(l.Detach(), l.Close())
}

// current is the directory of this layout.
func (p *Pins) current() string { return filepath.Join(p.path, layout) }

// loadMaps returns the maps that are pinned, or nil where there are none of this
// layout.
func (p *Pins) loadMaps() (*maps, error) {
	m := new(maps)
	for _, each := range m.named() {
		pinned, err := ebpf.LoadPinnedMap(filepath.Join(p.current(), each.name), nil)
		if errors.Is(err, fs.ErrNotExist) { // some may be missing, of one that was killed while it pinned
			return nil, m.Close()
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		*each.to = pinned
	}
	return m, nil
}

// pinMaps pins maps in place of those that are there.
func (p *Pins) pinMaps(m *maps) error {
	if err := os.Mkdir(p.current(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, each := range m.named() {
		if (*each.to).IsPinned() {
			continue
		}
		path := filepath.Join(p.current(), each.name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := (*each.to).Pin(path); err != nil {
			return err
		}
	}
	return nil
}

// attach attaches a program by the link that is pinned, of whatever layout, so that
// there is no moment without one, or else by a new one.
func (p *Pins) attach(root *os.File, program *ebpf.Program, spec *ebpf.ProgramSpec) (link.Link, error) {
	path := filepath.Join(p.current(), linkPrefix+strings.TrimPrefix(spec.Name, "keepalive_"))
	old, _ := filepath.Glob(filepath.Join(p.path, layouts, filepath.Base(path)))
	for _, file := range old {
		l, err := link.LoadPinnedLink(file, nil)
		if err != nil {
			return nil, err
		}
		if isOf(l, root) && l.Update(program) == nil {
			return l, l.Pin(path)
		}
		if err := errors.Join(l.Unpin(), l.Close()); err != nil { // of a group that is gone
			return nil, err
		}
	}
	l, err := attachLink(root, program, spec)
	if err != nil {
		return nil, err
	}
	return l, l.Pin(path)
}

// programs returns those that are pinned, none where p is nil.
func (p *Pins) programs() map[ebpf.ProgramID]bool {
	ids := make(map[ebpf.ProgramID]bool)
	if p == nil {
		return ids
	}
	links, _ := filepath.Glob(filepath.Join(p.path, layouts, linkPrefix+"*"))
	for _, file := range links {
		l, err := link.LoadPinnedLink(file, nil)
		if err != nil {
			continue // Attach returns the error
		}
		if info, err := l.Info(); err == nil {
			ids[info.Program] = true
		}
		l.Close()
	}
	return ids
}

// isOf reports whether a link is one of the group.
func isOf(l link.Link, root *os.File) bool {
	info, err := l.Info()
	stat, errStat := root.Stat()
	if err != nil || errStat != nil || info.Cgroup() == nil {
		return false
	}
	inode, ok := stat.Sys().(*syscall.Stat_t)
	return ok && info.Cgroup().CgroupId == inode.Ino
}

// removeOthers removes what other layouts have left.
func (p *Pins) removeOthers() error {
	dirs, err := filepath.Glob(filepath.Join(p.path, layouts))
	for _, dir := range dirs {
		if dir != p.current() {
			err = errors.Join(err, removePins(dir))
		}
	}
	return err
}
