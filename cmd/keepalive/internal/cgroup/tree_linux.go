package cgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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
	dir     *os.File // that of top
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
	if t.dir, err = g.Directory(); err == nil {
		err = t.add("/", new(Changes))
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close ends the watch.
func (t *Tree) Close() error { return errors.Join(t.events.Close(), t.dir.Close()) }

// Groups returns the ids of all groups, by their paths: "/" for the highest one.
func (t *Tree) Groups() map[string]uint64 { return t.groups }

// Changes are what has happened to a Tree.
type Changes struct {
	Added   map[string]uint64 // by path
	Removed []uint64
}

// add adds a group and those below it. The watch comes first, so that what is made
// after the look is noticed.
func (t *Tree) add(group string, c *Changes) error {
	watch, err := unix.InotifyAddWatch(t.inotify, path.Join(link(t.dir), group)+"/.", unix.IN_CREATE|unix.IN_DELETE|unix.IN_ONLYDIR)
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("there are %d control groups, and the user may watch no more: raise fs.inotify.max_user_watches", len(t.groups))
	}
	if err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	t.watched[int32(watch)] = group
	info, err := t.top.dir.Stat(inside(group))
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.ErrUnsupported
	}
	if known, ok := t.groups[group]; !ok || known != stat.Ino {
		if ok {
			c.Removed = append(c.Removed, known)
		}
		t.groups[group] = stat.Ino
		c.put(group, stat.Ino)
	}
	entries, err := fs.ReadDir(t.top.dir.FS(), inside(group))
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := t.add(path.Join(group, e.Name()), c); err != nil && !isGone(err) {
			return err
		}
	}
	return err
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
			if err := t.add(group, c); err != nil && !isGone(err) {
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
