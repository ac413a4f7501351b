package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Watch notices at once that groups are made and removed beside a group, and
// beside those above it. It notices nothing where the system refuses inotify(7),
// or where that happens in another cgroup namespace.
type Watch struct {
	events  *os.File // of inotify(7), or nil
	inotify int      // its descriptor: Fd would end its deadlines
	top     *os.File // the highest directory of cgroup v2 above the group, or nil
	below   []string // the names from there to the group
	every   time.Duration
}

// Watch starts to watch.
func (g *Group) Watch() *Watch {
	w := &Watch{every: lookEvery}
	if fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
		w.events, w.inotify = os.NewFile(uintptr(fd), "inotify"), fd
	}
	if dir, err := g.Directory(); err == nil {
		w.climb(dir)
	}
	w.addAbove()
	return w
}

// climb finds the directories above dir, which it closes.
func (w *Watch) climb(dir *os.File) {
	name, err := os.Readlink(link(dir))
	names := strings.Split(strings.TrimSuffix(name, " (deleted)"), "/")
	for depth := 0; err == nil; depth++ {
		w.below = names[max(0, len(names)-depth):]
		above, err := parent(dir)
		if err != nil {
			break
		}
		dir.Close()
		dir = above
	}
	w.top = dir
}

// link returns a path of an open file, which may be in a mount that is mounted
// nowhere.
func link(f *os.File) string { return fmt.Sprint("/proc/self/fd/", f.Fd()) }

// parent opens the directory of cgroup v2 above one.
func parent(dir *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	above := os.NewFile(uintptr(fd), "..")
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil || stat.Type != unix.CGROUP2_SUPER_MAGIC || isSame(dir, above) {
		return nil, errors.Join(errNoParent, above.Close())
	}
	return above, nil
}

var errNoParent = errors.New("no directory of cgroup v2 is above it")

// isSame reports whether both are one directory. The root of a mount that is
// mounted nowhere is above itself.
func isSame(a, b *os.File) bool {
	first, err := a.Stat()
	second, errB := b.Stat()
	return err == nil && errB == nil && os.SameFile(first, second)
}

// addAbove watches the directories above the group that exist now, which may have
// been made again.
func (w *Watch) addAbove() {
	if w.events == nil || w.top == nil {
		return
	}
	for i := range w.below {
		dir := path.Join(append([]string{link(w.top)}, w.below[:i]...)...) + "/."
		unix.InotifyAddWatch(w.inotify, dir, unix.IN_CREATE|unix.IN_DELETE|unix.IN_ONLYDIR)
	}
}

// lookEvery is the time after which the groups are looked at, whatever a watch
// notices.
const lookEvery = time.Second

// Wait returns when something has happened since the last call, or since the
// watch began, after a second at the latest, and when ctx is done.
func (w *Watch) Wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	if w.events == nil || w.events.SetReadDeadline(time.Time{}) != nil {
		<-ctx.Done()
		return
	}
	stop := context.AfterFunc(ctx, func() { w.events.SetReadDeadline(time.Now()) })
	defer stop()
	var events [4096]byte // whatever they are, the caller looks at the groups
	w.events.Read(events[:])
}

// Await calls open until it finds a group, which it returns. An error of open
// other than that there is no such group ends it, and so does ctx.
func (w *Watch) Await(ctx context.Context, open func() (*Group, error)) (*Group, error) {
	for {
		w.addAbove() // first, so that what is made after the look is noticed
		g, err := open()
		if err == nil && !g.IsGone() {
			return g, nil
		}
		if err == nil {
			g.Close()
		} else if !isMissing(err) {
			return nil, err
		}
		w.Wait(ctx)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// isMissing reports whether err says that there is no such group.
func isMissing(err error) bool {
	return isGone(err) || errors.Is(err, errMissing) || errors.Is(err, errNoUnit)
}

// Close ends the watch.
func (w *Watch) Close() {
	w.events.Close() // nil is an error, and does no harm
	w.top.Close()
}
