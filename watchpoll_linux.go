//go:build !keepalive_portable

package keepalive

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"weak"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// A registration is the place of a watched connection in the epoll instance. socket
// is nil if it has none.
type registration struct {
	rc     syscall.RawConn
	socket *watchedSocketEntry
}

// A watchedSocketEntry is a socket in the epoll instance, and the connections
// around it that are watched.
type watchedSocketEntry struct {
	id    uint64
	fd    int // while the socket is open: the number is used again
	conns []weak.Pointer[watchedConn]
}

// endPoll is told by the kernel when a watched socket ends. It has a goroutine and
// a descriptor while anything is watched.
var endPoll endPoller

type endPoller struct {
	mu    sync.Mutex
	epoll *os.File // nil while nothing is watched
	fd    int      // of epoll
	last  uint64   // id
	byID  map[uint64]*watchedSocketEntry
	byFD  map[int]*watchedSocketEntry
}

// register makes the kernel tell of the end of w.
func (w *watchedConn) register() error {
	socket, err := unwrap(w.Conn)
	if err != nil {
		return err
	}
	rc, err := sockopt.RawConn(socket)
	if err != nil {
		return err
	}
	w.rc = rc
	err = sockopt.RawControl(rc, func(fd uintptr) error {
		if err := policy.CheckTellsEnd(fd); err != nil {
			return err
		}
		return endPoll.add(int(fd), w)
	})
	if err == nil {
		p := weak.Make(w)
		// rc does not lead to w, which would keep w forever.
		runtime.AddCleanup(w, func(r registration) { r.remove(p) }, w.registration)
	}
	return err
}

func (w *watchedConn) unregister() { w.registration.remove(weak.Make(w)) }

// remove ends the registration of w, however its socket was closed.
func (r registration) remove(w weak.Pointer[watchedConn]) {
	if r.socket == nil {
		return
	}
	err := sockopt.RawControl(r.rc, func(fd uintptr) error {
		endPoll.remove(r.socket, w, true)
		return nil
	})
	if err != nil {
		endPoll.remove(r.socket, w, false)
	}
}

// add adds w, and its open socket fd unless another connection has.
func (p *endPoller) add(fd int, w *watchedConn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.start(); err != nil {
		return err
	}
	entry := &watchedSocketEntry{id: p.last + 1, fd: fd}
	err := p.control(unix.EPOLL_CTL_ADD, entry)
	if err == unix.EEXIST {
		// An entry of the same number may be missing, since a duplicate
		// has kept the socket open, and then the kernel's has a new id.
		if known := p.byFD[fd]; known != nil {
			entry = known
		}
		err = p.control(unix.EPOLL_CTL_MOD, entry) // repeats an event that was read
	}
	if err != nil {
		p.stopUnused()
		return fmt.Errorf("keepalive: epoll_ctl: %w", err)
	}
	p.last = max(p.last, entry.id)
	p.byID[entry.id], p.byFD[fd] = entry, entry
	entry.conns = append(entry.conns, weak.Make(w))
	w.socket = entry
	return nil
}

// control makes the event of a socket its id. A descriptor would be that of
// another socket by the time that the event is read.
func (p *endPoller) control(op int, entry *watchedSocketEntry) error {
	event := unix.EpollEvent{Events: unix.EPOLLERR | unix.EPOLLHUP | unix.EPOLLET, Fd: int32(entry.id), Pad: int32(entry.id >> 32)}
	return unix.EpollCtl(p.fd, op, entry.fd, &event)
}

func idOf(event *unix.EpollEvent) uint64 {
	return uint64(uint32(event.Fd)) | uint64(uint32(event.Pad))<<32
}

// remove removes a connection, and its socket with the last one. The kernel
// removes a socket that was closed by itself.
func (p *endPoller) remove(entry *watchedSocketEntry, w weak.Pointer[watchedConn], open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(entry.conns, w)
	if i < 0 {
		return
	}
	entry.conns = slices.Delete(entry.conns, i, i+1)
	if len(entry.conns) > 0 {
		return
	}
	delete(p.byID, entry.id)
	if p.byFD[entry.fd] == entry { // and not that of a newer socket
		delete(p.byFD, entry.fd)
		if open {
			p.control(unix.EPOLL_CTL_DEL, entry)
		}
	}
	p.stopUnused()
}

func (p *endPoller) start() error {
	if p.epoll != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("keepalive: epoll_create1: %w", err)
	}
	unix.SetNonblock(fd, true) // else os.NewFile would not poll it
	epoll := os.NewFile(uintptr(fd), "epoll")
	rc, err := epoll.SyscallConn()
	if err != nil {
		epoll.Close()
		return fmt.Errorf("keepalive: %w", err)
	}
	p.epoll, p.fd = epoll, fd
	p.byID, p.byFD = make(map[uint64]*watchedSocketEntry), make(map[int]*watchedSocketEntry)
	go p.poll(rc)
	return nil
}

func (p *endPoller) stopUnused() {
	if len(p.byID) == 0 {
		p.epoll.Close()
		p.epoll, p.byID, p.byFD = nil, nil, nil
	}
}

// poll passes on events until the epoll instance is closed.
func (p *endPoller) poll(rc syscall.RawConn) {
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		if err := rc.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		}); err != nil {
			return
		}
		for i := range events[:n] {
			p.pass(&events[i])
		}
	}
}

// pass starts a goroutine, so that no connection delays the event of another.
func (p *endPoller) pass(event *unix.EpollEvent) {
	p.mu.Lock()
	entry := p.byID[idOf(event)]
	p.mu.Unlock()
	if entry != nil {
		go entry.hearEnd(event.Events&unix.EPOLLERR != 0)
	}
}

// watched returns the connections that are watched, in use and open. A duplicate
// may keep the socket of a closed one open.
func (p *endPoller) watched(entry *watchedSocketEntry) []*watchedConn {
	return slices.DeleteFunc(p.inUse(entry), func(w *watchedConn) bool {
		return sockopt.RawControl(w.rc, func(uintptr) error { return nil }) != nil
	})
}

func (p *endPoller) inUse(entry *watchedSocketEntry) (conns []*watchedConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range entry.conns {
		if w := w.Value(); w != nil {
			conns = append(conns, w)
		}
	}
	return conns
}
