package cgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Tree knows a group and those below it by their ids, which sockets have. It
// notices at once that groups are made and removed.
type Tree struct {
	top     *Group
	events  *os.File // of inotify(7)
	inotify int      // its descriptor: Fd would end its deadlines
	watched map[int32]string
	groups  map[string]uint64
}

// Tree starts to watch. Close what it returns.
func (g *Group) Tree() (*Tree, error) {
	t := &Tree{top: g, watched: make(map[int32]string), groups: make(map[string]uint64)}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	t.events, t.inotify = os.NewFile(uintptr(fd), "inotify"), fd
	if err := t.add("/", new(Changes)); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close ends the watch.
func (t *Tree) Close() error { return t.events.Close() }

// Groups returns the ids of all groups, by their paths: "/" for the highest one.
func (t *Tree) Groups() map[string]uint64 { return t.groups }

// Changes are what has happened to a Tree.
type Changes struct {
	Added   map[string]uint64 // by path
	Removed []uint64
}

// add adds a group and those below it. A group that its owner keeps others from
// reading is known, and those below it are not.
func (t *Tree) add(group string, c *Changes) error {
	// Relative to an open directory: paths of groups may be longer than PATH_MAX, and
	// need not be UTF-8, which fs.ReadDir wants.
	dir, err := t.top.dir.Open(inside(group))
	if errors.Is(err, os.ErrPermission) && group != "/" {
		info, err := t.top.dir.Stat(inside(group))
		if err != nil {
			return err
		}
		return t.know(group, info, c)
	}
	if err != nil {
		return err
	}
	names, err := t.addOpen(group, dir, c)
	dir.Close() // before those below it are opened
	for _, name := range names {
		if err := t.add(path.Join(group, name), c); err != nil && !isGone(err) && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return err
}

// addOpen adds a group, and returns the names of those below it. The watch comes
// first, so that what is made after the look is noticed.
func (t *Tree) addOpen(group string, dir *os.File, c *Changes) (names []string, err error) {
	watch, err := unix.InotifyAddWatch(t.inotify, link(dir)+"/.", unix.IN_CREATE|unix.IN_DELETE|unix.IN_ONLYDIR)
	if errors.Is(err, unix.ENOSPC) {
		return nil, fmt.Errorf("there are %d control groups, and the user may watch no more: raise fs.inotify.max_user_watches", len(t.groups))
	}
	if err != nil {
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	t.watched[int32(watch)] = group
	info, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	if err := t.know(group, info, c); err != nil {
		return nil, err
	}
	return namesBelow(dir)
}

func (t *Tree) know(group string, info os.FileInfo, c *Changes) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.ErrUnsupported
	}
	known, ok := t.groups[group]
	if ok && known == stat.Ino {
		return nil
	}
	if ok {
		c.Removed = append(c.Removed, known)
	}
	t.groups[group] = stat.Ino
	c.put(group, stat.Ino)
	return nil
}

// namesBelow returns the names of the groups in the directory of one.
func namesBelow(dir *os.File) (names []string, err error) {
	entries, err := dir.ReadDir(-1)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// inside returns a path below the highest group.
func inside(group string) string { return path.Join(".", group) }

func (c *Changes) put(group string, id uint64) {
	if c.Added == nil {
		c.Added = make(map[string]uint64)
	}
	c.Added[group] = id
}

// remove forgets a group and those below it.
func (t *Tree) remove(group string, c *Changes) {
	for known, id := range t.groups {
		if known == group || strings.HasPrefix(known, group+"/") {
			delete(t.groups, known)
			delete(c.Added, known)
			c.Removed = append(c.Removed, id)
		}
	}
}

// lookAgain is the time after which a Tree looks at all groups, whatever it notices.
const lookAgain = time.Minute

// Wait returns what has happened since the last call, or since the watch began, once
// there is something, or nothing when ctx is done.
func (t *Tree) Wait(ctx context.Context) (c Changes, err error) {
	events := make([]byte, 64<<10)
	for {
		n, err := t.read(ctx, events)
		if ctx.Err() != nil {
			return c, nil
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = t.look(&c)
		case err == nil:
			err = t.take(events[:n], &c)
		}
		if err != nil || len(c.Added)+len(c.Removed) > 0 {
			return c, err
		}
	}
}

func (t *Tree) read(ctx context.Context, events []byte) (int, error) {
	if err := t.events.SetReadDeadline(time.Now().Add(lookAgain)); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { t.events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return t.events.Read(events)
}

// take takes some struct inotify_event.
func (t *Tree) take(events []byte, c *Changes) error {
	for len(events) >= unix.SizeofInotifyEvent {
		watch, mask := int32(binary.NativeEndian.Uint32(events)), binary.NativeEndian.Uint32(events[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:min(size, len(events))])
		events = events[min(size, len(events)):]
		above, known := t.watched[watch]
		group := path.Join(above, name)
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			return t.look(c)
		case mask&unix.IN_IGNORED != 0:
			delete(t.watched, watch)
		case !known || mask&unix.IN_ISDIR == 0:
		case mask&unix.IN_DELETE != 0:
			t.remove(group, c)
		case mask&unix.IN_CREATE != 0:
			if err := t.add(group, c); err != nil && !isGone(err) && !errors.Is(err, os.ErrPermission) {
				return err
			}
		}
	}
	return nil
}

// look looks at all groups, of which some may have gone.
func (t *Tree) look(c *Changes) error {
	for group := range t.groups {
		if _, err := t.top.dir.Stat(inside(group)); isGone(err) {
			t.remove(group, c)
		}
	}
	return t.add("/", c)
}
