package seccomppolicy

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// An origin is what a socket takes from the thread that makes it: its user, its
// network namespace, its control groups, and its label of a security module. The
// user is that of this thread, which takes it over from the thread in question.
type origin struct {
	proc      int // the directory /proc
	uid, gid  uint32
	namespace namespaceID
	groups    []byte
	label     []byte // nil where there is no security module
	buffer    []byte
}

type namespaceID struct{ device, inode uint64 }

// newOrigin returns that of this thread, to which the goroutine is locked.
func newOrigin() (*origin, error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	o := &origin{proc: proc, buffer: make([]byte, 16<<10)}
	if err := o.readOwn(); err != nil {
		unix.Close(proc)
		return nil, err
	}
	return o, nil
}

func (o *origin) readOwn() error {
	self := strconv.Itoa(unix.Gettid())
	var stat unix.Stat_t
	err := unix.Fstatat(o.proc, self, &stat, 0)
	if err != nil {
		return fmt.Errorf("/proc/%s: %w", self, err)
	}
	o.uid, o.gid = stat.Uid, stat.Gid
	if o.namespace, err = o.namespaceOf(self); err != nil {
		return fmt.Errorf("/proc/%s%s: %w", self, inNamespace, err)
	}
	return o.readMovable()
}

// readMovable reads what somebody else can change.
func (o *origin) readMovable() error {
	self := strconv.Itoa(unix.Gettid())
	groups, err := o.read(self + "/cgroup")
	if err != nil && err != unix.ENOENT { // a kernel without control groups
		return fmt.Errorf("/proc/%s/cgroup: %w", self, err)
	}
	o.groups = bytes.Clone(groups)
	label, err := o.read(self + "/attr/current")
	if o.label = nil; err == nil {
		o.label = bytes.Clone(label)
	}
	return nil
}

// inNamespace is a file below /proc/PID that has an inode for each network
// namespace. Unlike /proc/PID/ns/net everybody can ask for that, also where the
// process is not dumpable, as one is that has given up the rights of root.
const inNamespace = "/net/dev"

func (o *origin) namespaceOf(thread string) (namespaceID, error) {
	var stat unix.Stat_t
	err := unix.Fstatat(o.proc, thread+inNamespace, &stat, 0)
	return namespaceID{uint64(stat.Dev), stat.Ino}, err
}

// read returns the start of a file below /proc, until the next call.
func (o *origin) read(path string) ([]byte, error) {
	fd, err := unix.Openat(o.proc, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, o.buffer)
	return o.buffer[:max(n, 0)], err
}

// Why a socket that this thread makes would not be that of another one.
const (
	unknownOrigin  = "keepalive can't read its origin in /proc"
	otherUser      = "it has another user, which keepalive may not take over"
	otherNamespace = "it is in another network namespace, which keepalive may not enter"
	otherGroup     = "it is in another control group"
	otherLabel     = "it has another label of a security module"
)

// differs returns why a socket of this thread would not be that of another one,
// or "". It has this thread make its sockets as the user of the other one.
func (o *origin) differs(tid uint32) (why string) {
	thread := strconv.Itoa(int(tid))
	var stat unix.Stat_t
	if unix.Fstatat(o.proc, thread, &stat, 0) != nil {
		return unknownOrigin
	}
	if (stat.Uid != o.uid || stat.Gid != o.gid) && !o.become(stat.Uid, stat.Gid) {
		return otherUser
	}
	if why := o.moved(thread); why != "" {
		if o.readMovable() != nil {
			return unknownOrigin
		}
		if why = o.moved(thread); why != "" { // this process has not been moved as well
			return why
		}
	}
	switch namespace, err := o.namespaceOf(thread); {
	case err != nil:
		return unknownOrigin
	case namespace != o.namespace:
		return otherNamespace
	}
	return ""
}

func (o *origin) moved(thread string) (why string) {
	if o.groups != nil {
		groups, err := o.read(thread + "/cgroup")
		if err != nil || !bytes.Equal(groups, o.groups) {
			return otherGroup
		}
	}
	if o.label != nil {
		label, err := o.read(thread + "/attr/current")
		if err != nil || !bytes.Equal(label, o.label) {
			return otherLabel
		}
	}
	return ""
}

// become has the files of this thread, and so its sockets, belong to a user and a
// group. It reports whether it could.
func (o *origin) become(uid, gid uint32) bool {
	unix.SetfsgidRetGid(int(gid))
	unix.SetfsuidRetUid(int(uid))
	const none = -1 // which only returns what is
	isUID, _ := unix.SetfsuidRetUid(none)
	isGID, _ := unix.SetfsgidRetGid(none)
	o.uid, o.gid = uint32(isUID), uint32(isGID)
	return o.uid == uid && o.gid == gid
}
