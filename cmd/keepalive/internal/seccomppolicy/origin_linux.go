package seccomppolicy

import (
	"bytes"
	"fmt"
	"os"

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
	threads   map[uint32]*thread // those that have made sockets before
}

// newOrigin returns that of this thread, to which the goroutine is locked.
func newOrigin() (*origin, error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/proc", Err: err}
	}
	o := &origin{proc: proc, buffer: make([]byte, 16<<10), threads: make(map[uint32]*thread)}
	if err = o.readOwn(); err != nil {
		unix.Close(proc)
		return nil, fmt.Errorf("this thread's files in /proc: %w", err)
	}
	return o, nil
}

func (o *origin) readOwn() error {
	self, err := openThread(o.proc, uint32(unix.Gettid()))
	if err != nil {
		return err
	}
	defer self.close()
	var stat unix.Stat_t
	if err := unix.Fstat(self.dir, &stat); err != nil {
		return err
	}
	o.uid, o.gid = stat.Uid, stat.Gid
	if o.namespace, err = self.namespace(); err != nil {
		return err
	}
	return o.readMovable(self)
}

// readMovable reads what somebody else can change.
func (o *origin) readMovable(self *thread) error {
	groups, err := self.read(self.groups, o.buffer)
	if err != nil {
		return err
	}
	o.groups = bytes.Clone(groups)
	label, err := self.read(self.label, o.buffer)
	if o.label = nil; err == nil {
		o.label = bytes.Clone(label)
	}
	return nil
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
	t, namespace, err := o.find(tid)
	if err != nil {
		return unknownOrigin
	}
	var stat unix.Stat_t
	if unix.Fstat(t.dir, &stat) != nil {
		return unknownOrigin
	}
	if (stat.Uid != o.uid || stat.Gid != o.gid) && !o.become(stat.Uid, stat.Gid) {
		return otherUser
	}
	if why := o.moved(t); why != "" && (!o.follow() || o.moved(t) != "") {
		return why
	}
	if namespace != o.namespace {
		return otherNamespace
	}
	return ""
}

// find returns the files of a thread, and its network namespace.
func (o *origin) find(tid uint32) (t *thread, namespace namespaceID, err error) {
	if t = o.threads[tid]; t != nil {
		if namespace, err = t.namespace(); err == nil {
			return t, namespace, nil
		}
		t.close() // another thread has its number
		delete(o.threads, tid)
	}
	const enough = 64
	if t, err = openThread(o.proc, tid); err != nil || len(o.threads) >= enough {
		o.forget()
	}
	if err != nil { // may have been too many open files
		t, err = openThread(o.proc, tid)
	}
	if err != nil {
		return nil, namespace, err
	}
	o.threads[tid] = t
	namespace, err = t.namespace()
	return t, namespace, err
}

func (o *origin) forget() {
	for _, t := range o.threads {
		t.close()
	}
	clear(o.threads)
}

// moved returns what of that which somebody else can change is not that of a
// thread.
func (o *origin) moved(t *thread) (why string) {
	groups, err := t.read(t.groups, o.buffer)
	if err != nil || !bytes.Equal(groups, o.groups) {
		return otherGroup
	}
	if o.label != nil {
		label, err := t.read(t.label, o.buffer)
		if err != nil || !bytes.Equal(label, o.label) {
			return otherLabel
		}
	}
	return ""
}

// follow reads again what somebody else can change, for somebody may have moved
// this process as well.
func (o *origin) follow() bool {
	self, err := openThread(o.proc, uint32(unix.Gettid()))
	if err != nil {
		return false
	}
	defer self.close()
	return o.readMovable(self) == nil
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
