// Package sockets reaches the TCP sockets that other processes hold. It
// duplicates a descriptor with pidfd_getfd(2), asks and sets what is wanted, and
// closes it. The process is not stopped and nothing of its data is read. The
// flags of the descriptor, which the process shares, stay as they are.
package sockets

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sys/unix"
)

// Found is the sockets that the processes of this system hold, as far as the
// caller may look into them. There are other sockets than TCP's among them.
type Found struct {
	refs      []ref   // by socket, then by process and descriptor
	sockets   []int32 // the first ref of each, by process and descriptor
	processes []Process

	namespaces *namespaces

	mu       sync.Mutex
	refusals []Refusal
}

// A ref is a descriptor of a socket.
type ref struct {
	inode   uint64
	process int32 // index into Found.processes
	fd      int32
}

// Process is a process that holds a socket.
type Process struct {
	PID     int
	Command string // as in /proc/PID/comm, "?" for what can't be printed
}

// MaxCommand is how long a command is at most: TASK_COMM_LEN less one.
const MaxCommand = 15

// Find lists the sockets. It opens none of them. Close what it returns.
func Find() (*Found, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	f := &Found{namespaces: newNamespaces()}
	for _, pid := range pids {
		if err := f.add(pid); err != nil && !isGone(err) {
			f.refusals = append(f.refusals, explain(pid, err))
		}
	}
	f.group()
	return f, nil
}

// processes returns the ids of all processes but this one.
func processes() ([]int, error) {
	names, err := readNames("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// add lists the sockets of a process.
func (f *Found) add(pid int) error {
	dir := "/proc/" + strconv.Itoa(pid)
	fds, err := os.Open(dir + "/fd")
	if errors.Is(err, os.ErrPermission) && hasNoMemory(dir) {
		return nil // a kernel thread or a zombie, which hold none
	}
	if err != nil {
		return err
	}
	defer fds.Close()
	n := len(f.refs)
	if err := f.addFrom(fds); err != nil {
		f.refs = f.refs[:n]
		return err
	}
	if len(f.refs) > n {
		command, _ := os.ReadFile(dir + "/comm")
		f.processes = append(f.processes, Process{pid, printable(strings.TrimSuffix(string(command), "\n"))})
	}
	return nil
}

// printable keeps programs from writing to the terminal of who lists them: they
// choose their names.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// addFrom adds what /proc/PID/fd shows.
func (f *Found) addFrom(fds *os.File) error {
	for {
		names, err := fds.Readdirnames(512)
		for _, name := range names {
			inode, ok := readSocket(int(fds.Fd()), name)
			if fd, err := strconv.Atoi(name); ok && err == nil {
				f.refs = append(f.refs, ref{inode, int32(len(f.processes)), int32(fd)})
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readSocket returns the inode of the socket that a link such as "socket:[4711]"
// leads to.
func readSocket(dir int, name string) (inode uint64, ok bool) {
	var target [64]byte
	n, err := unix.Readlinkat(dir, name, target[:])
	number, ok := bytes.CutPrefix(target[:max(n, 0)], []byte("socket:["))
	if err != nil || !ok {
		return 0, false
	}
	inode, err = strconv.ParseUint(string(bytes.TrimSuffix(number, []byte("]"))), 10, 64)
	return inode, err == nil
}

func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

// hasNoMemory reports whether the command line of a process is empty, which is
// never refused.
func hasNoMemory(dir string) bool {
	line, err := os.ReadFile(dir + "/cmdline")
	return err == nil && len(line) == 0
}

// group finds the descriptors that are of one socket, as those of a server and
// the children that it forked.
func (f *Found) group() {
	slices.SortFunc(f.refs, func(a, b ref) int {
		return cmp.Or(cmp.Compare(a.inode, b.inode), compareHolders(a, b))
	})
	for i := range f.refs {
		if i == 0 || f.refs[i-1].inode != f.refs[i].inode {
			f.sockets = append(f.sockets, int32(i))
		}
	}
	slices.SortFunc(f.sockets, func(a, b int32) int { return compareHolders(f.refs[a], f.refs[b]) })
}

func compareHolders(a, b ref) int {
	return cmp.Or(cmp.Compare(a.process, b.process), cmp.Compare(a.fd, b.fd))
}

// Close closes the namespaces that were opened.
func (f *Found) Close() { f.namespaces.close() }

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

// refsOf returns the descriptors of a socket.
func (f *Found) refsOf(socket int) []ref {
	first := int(f.sockets[socket])
	end := first + 1
	for end < len(f.refs) && f.refs[end].inode == f.refs[first].inode {
		end++
	}
	return f.refs[first:end]
}
