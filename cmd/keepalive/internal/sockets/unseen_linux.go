package sockets

import (
	"cmp"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Unseen is what could not be seen, apart from the processes that [Found.Refusals]
// has.
type Unseen struct {
	// Connections are held by nothing that could be seen.
	Connections []Connection
	// Uncounted are the network namespaces where there may be more of them.
	Uncounted []Uncounted
	// Hidden is why there may be processes that /proc does not show, or nil.
	Hidden error
}

// Connection is a TCP connection that a program has opened, or has accepted, and
// that no descriptor in sight is of.
type Connection struct {
	NetNS         uint64
	Local, Remote netip.AddrPort
	// Kernel is whether it is known to be a connection of the kernel, such as
	// one to an NFS server, which no process can hold.
	Kernel bool

	cookie uint64
}

// Uncounted is a network namespace whose connections could not be counted.
type Uncounted struct {
	NetNS uint64
	Err   error
}

// carriesData are the states of connections that have a peer. TIME-WAIT has no
// more file than a connection that its program has closed.
const carriesData = 1<<Established | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11

// A census is the connections that the kernel has in the network namespaces of
// the processes in sight, and in those that ip-netns(8) has named. It compares
// them to the sockets that were found.
type census struct {
	of     map[int]*namespace // by PID
	counts map[*namespace]*count
	timers armedTimers // of connections that have a file

	sorting    sync.WaitGroup // of inodes
	sortTimers sync.Once      // few callers ask for them
}

// A count is the connections of a network namespace.
type count struct {
	inodes []uint32 // of those that have a file, in order
	err    error
	unseen map[uint32]Connection // by inode
}

func newCensus(known *namespaces, pids []int) *census {
	c := &census{of: make(map[int]*namespace), counts: make(map[*namespace]*count)}
	if known == nil {
		return c
	}
	c.add(known.own)
	for _, pid := range pids {
		if n := known.ofProcess(pid); n != nil {
			c.of[pid] = n
			c.add(n)
		}
	}
	named, _ := filepath.Glob("/run/netns/*")
	for _, path := range named {
		if n, err := known.at(path); err == nil {
			c.add(n)
		}
	}
	return c
}

// add counts the connections of a network namespace, once.
func (c *census) add(n *namespace) {
	if c.counts[n] != nil {
		return
	}
	count := new(count)
	c.counts[n] = count
	count.err = n.do(func() error {
		return dump(carriesData|1<<synSent, func(s diagSocket) {
			if s.inode() == 0 {
				return
			}
			c.timers.add(s)
			if s.state() != synSent {
				count.inodes = append(count.inodes, s.inode())
			}
		})
	})
	c.sorting.Go(func() { slices.Sort(count.inodes) })
}

// addOthers counts the connections of network namespaces that only a descriptor or a
// thread keeps. Descriptors has some of their sockets, by the inode of the namespace.
func (c *census) addOthers(f *Found, descriptors map[uint32][]ref) {
	r := f.NewReader()
	defer r.leaveTable() // what it was refused is listed all the same
	for _, refs := range descriptors {
		if fd := r.duplicate(refs); fd >= 0 {
			c.add(f.namespaces.of(fd))
			unix.Close(fd)
		}
	}
}

// timer returns the timer that a socket had when the connections were counted.
func (f *Found) timer(s *Socket, inode uint32) Timer {
	if s.State == Listen || s.State == closed {
		return Timer{Kind: NoTimer}
	}
	if s.MPTCP { // each of its subflows has one
		return Timer{}
	}
	f.census.sortTimers.Do(f.census.timers.sort)
	return f.census.timers.of(inode)
}

// compare finds the connections that existed before the sockets were found and
// still do, and are not among them. It returns how many.
func (c *census) compare(f *Found) (unseen int) {
	c.sorting.Wait()
	var own map[uint32]bool
	for n, count := range c.counts {
		candidates := make(map[uint32]bool)
		refs := f.refs
		for _, inode := range count.inodes { // in order, as the refs are
			for len(refs) > 0 && refs[0].inode < inode {
				refs = refs[1:]
			}
			if len(refs) == 0 || refs[0].inode != inode {
				candidates[inode] = true
			}
		}
		count.unseen = nil
		if len(candidates) == 0 {
			continue
		}
		if own == nil {
			own = ownSockets()
		}
		maps.DeleteFunc(candidates, func(inode uint32, _ bool) bool { return own[inode] })
		if len(candidates) == 0 {
			continue
		}
		count.unseen = make(map[uint32]Connection)
		count.err = cmp.Or(count.err, n.do(func() error {
			return dump(carriesData, func(s diagSocket) {
				if inode := s.inode(); candidates[inode] {
					count.unseen[inode] = Connection{NetNS: n.inode, Local: s.local(), Remote: s.remote(), cookie: s.cookie()}
				}
			})
		}))
		unseen += len(count.unseen)
	}
	return unseen
}

// ownSockets returns the inodes of the sockets that this process holds, as one
// that inetd starts does.
func ownSockets() map[uint32]bool {
	own := make(map[uint32]bool)
	fds, err := os.Open("/proc/self/fd")
	if err != nil {
		return own
	}
	defer fds.Close()
	names, _ := fds.Readdirnames(-1)
	for _, name := range names {
		if inode, ok := readSocket(int(fds.Fd()), name); ok {
			own[inode] = true
		}
	}
	return own
}

// Unseen returns what could not be seen of the wanted processes, or of all if
// wanted is nil. The connections of the first are looked for in the network
// namespaces that they are in or have connections of.
func (f *Found) Unseen(wanted func(Process) bool) Unseen {
	u := Unseen{Hidden: hiddenProcesses("/proc")}
	for n, count := range f.census.counts {
		if count.err == nil && len(count.unseen) == 0 || wanted != nil && !f.census.concerns(f, n, wanted) {
			continue
		}
		if count.err != nil {
			u.Uncounted = append(u.Uncounted, Uncounted{n.inode, count.err})
		}
		var kernel map[uint64]bool
		if len(count.unseen) > 0 {
			n.do(func() (err error) {
				kernel, err = kernelSockets() // none are known where it fails
				return err
			})
		}
		for _, c := range count.unseen {
			c.Kernel = kernel[c.cookie]
			u.Connections = append(u.Connections, c)
		}
	}
	slices.SortFunc(u.Connections, func(a, b Connection) int {
		return cmp.Or(cmp.Compare(a.NetNS, b.NetNS), a.Local.Compare(b.Local), a.Remote.Compare(b.Remote))
	})
	slices.SortFunc(u.Uncounted, func(a, b Uncounted) int { return cmp.Compare(a.NetNS, b.NetNS) })
	return u
}

// concerns reports whether one of the wanted processes is in a namespace or has a
// connection of it.
func (c *census) concerns(f *Found, n *namespace, wanted func(Process) bool) bool {
	for pid, in := range c.of {
		if in == n && wanted(newProcess(pid, comm(pid))) {
			return true
		}
	}
	isWanted := func(r ref) bool { return wanted(f.tables[r.table].Process) }
	return slices.ContainsFunc(c.counts[n].inodes, func(inode uint32) bool { return slices.ContainsFunc(f.refsOf(inode), isWanted) })
}
