// Package sockets reaches the TCP sockets that other processes hold. It lists them
// with an iterator of eBPF, or with /proc and pidfd_getfd(2): see [Reading]. To
// change a socket it duplicates a descriptor with pidfd_getfd, asks and sets what
// is wanted, and closes it. The process is not stopped and nothing of its data is
// read. The flags of the descriptor, which the process shares, stay as they are.
package sockets

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Found is the sockets that the processes of this system hold, as far as the
// caller may look into them. There are other sockets than TCP's among them.
type Found struct {
	refs   []ref // by socket, then by table and descriptor
	tables []table

	source     source
	fallback   error // why source is not the iterator
	namespaces *namespaces
	census     *census

	mu       sync.Mutex
	refusals []Refusal
}

// A ref is a descriptor of a socket.
type ref struct {
	inode      uint32
	table      int32 // index into Found.tables
	fd         int32
	maySuspect bool // as the iterator has it
}

// A table is a table of descriptors that has sockets.
type table struct {
	Process
	thread int // that has it: mostly the main one, whose id is the PID
}

// Process is a process that holds a socket.
type Process struct {
	PID     int
	Command string // as in /proc/PID/comm, "?" for what can't be printed

	comm string // as it is
}

// maxComm is the length of a longer name in /proc/PID/comm: TASK_COMM_LEN less
// one.
const maxComm = 15

// IsCalled reports whether a program called name has the process's name. The
// kernel keeps 15 bytes of it. The name as it is printed is accepted too.
func (p Process) IsCalled(name string) bool {
	return p.comm != "" && (name[:min(len(name), maxComm)] == p.comm || name == p.Command)
}

// IsNamed reports whether the name could be read.
func (p Process) IsNamed() bool { return p.comm != "" }

func newProcess(pid int, comm string) Process {
	return Process{pid, printable(comm), comm}
}

// printable keeps programs from writing to the terminal of the caller: they
// choose their names.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// Find lists the sockets. It opens none of them. Close what it returns. It
// returns an error where /proc does not show the processes of this PID namespace.
func Find(reading Reading) (*Found, error) {
	if err := checkProc("/proc"); err != nil {
		return nil, err
	}
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	f := &Found{namespaces: newNamespaces()}
	if f.source, f.fallback, err = newSource(reading); err != nil {
		f.namespaces.close()
		return nil, err
	}
	f.census = newCensus(f.namespaces, pids)
	if err := f.list(); err != nil {
		f.Close()
		return nil, err
	}
	if f.census.compare(f) > 0 {
		// A process may have passed sockets on to one that was new, or that had
		// been looked into already.
		if err := f.list(); err != nil {
			f.Close()
			return nil, err
		}
		f.census.compare(f)
	}
	return f, nil
}

// FindIn lists the sockets of some processes. For a few it takes less time than Find,
// and the caller need not see others.
func FindIn(pids []int) (*Found, error) {
	if err := checkProc("/proc"); err != nil {
		return nil, err
	}
	f := &Found{namespaces: newNamespaces(), source: descriptors{only: pids}, fallback: errFew, census: newCensus(nil, nil)}
	if err := f.list(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// list lists the sockets of processes.
func (f *Found) list() error {
	f.refs, f.tables, f.refusals = f.refs[:0], nil, nil
	if err := f.source.list(f); err != nil {
		return err
	}
	f.group()
	return nil
}

// group brings the descriptors of one socket together. A server and the children that
// it forked share sockets.
func (f *Found) group() {
	slices.SortFunc(f.refs, func(a, b ref) int {
		if a.inode != b.inode {
			return cmp.Compare(a.inode, b.inode)
		}
		return compareHolders(a, b)
	})
}

func compareHolders(a, b ref) int {
	if a.table != b.table {
		return cmp.Compare(a.table, b.table)
	}
	return cmp.Compare(a.fd, b.fd)
}

// Close closes what was opened.
func (f *Found) Close() {
	f.source.close()
	f.namespaces.close()
}

// Refusals returns the processes that the caller may not look into, as far as
// that has turned out.
func (f *Found) Refusals() []Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(f.refusals, func(a, b Refusal) int { return cmp.Compare(a.PID, b.PID) })
	f.refusals = slices.CompactFunc(f.refusals, func(a, b Refusal) bool { return a.PID == b.PID })
	return slices.Clone(f.refusals)
}

func (f *Found) addRefusals(refusals []Refusal) {
	f.mu.Lock()
	f.refusals = append(f.refusals, refusals...)
	f.mu.Unlock()
}

// refsOf returns the descriptors of a socket, none where it was not found.
func (f *Found) refsOf(inode uint32) []ref {
	first, _ := slices.BinarySearchFunc(f.refs, inode, func(r ref, inode uint32) int { return cmp.Compare(r.inode, inode) })
	end := first
	for end < len(f.refs) && f.refs[end].inode == inode {
		end++
	}
	return f.refs[first:end]
}

// indexOf returns the [Socket.Index] of what refsOf has returned.
func (f *Found) indexOf(refs []ref) int { return cap(f.refs) - cap(refs) }

// isHeld reports whether one of the wanted tables has a socket.
func isHeld(refs []ref, wanted []bool) bool {
	return slices.ContainsFunc(refs, func(r ref) bool { return wanted[r.table] })
}

// holders appends the descriptors of a socket. Where a thread has copies of its
// process's descriptors, one of each.
func (f *Found) holders(refs []ref, holders []Holder) []Holder {
	for _, r := range refs {
		t := f.tables[r.table]
		h := Holder{t.Process, int(r.fd)}
		if t.thread == t.PID || !slices.Contains(holders, h) {
			holders = append(holders, h)
		}
	}
	return holders
}
