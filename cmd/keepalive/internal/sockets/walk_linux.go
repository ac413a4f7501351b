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

	"golang.org/x/sys/unix"
)

// processes returns the ids of all processes but this one.
func processes() ([]int, error) {
	ids, err := numbersIn("/proc")
	return slices.DeleteFunc(ids, func(pid int) bool { return pid == os.Getpid() }), err
}

// numbersIn returns the names in a directory that are numbers, in order.
func numbersIn(dir string) (numbers []int, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, err
}

// list implements [source].
func (d descriptors) list(f *Found) (err error) {
	pids := d.only
	if pids == nil {
		pids, err = processes()
	}
	for _, pid := range pids {
		if err := f.add(pid); err != nil && !isGone(err) {
			f.refusals = append(f.refusals, explain(pid, err))
		}
	}
	return err
}

// add lists the sockets of a process.
func (f *Found) add(pid int) error {
	refs, tables := len(f.refs), len(f.tables)
	if err := f.addTables(pid); err != nil {
		f.refs, f.tables = f.refs[:refs], f.tables[:tables]
		return err
	}
	if len(f.tables) > tables {
		process := newProcess(pid, comm(pid))
		for i := range f.tables[tables:] {
			f.tables[tables+i].Process = process
		}
	}
	return nil
}

// comm returns the name of a process, "" where it can't be read.
func comm(pid int) string {
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return strings.TrimSuffix(string(name), "\n")
}

// addTables lists the table of the main thread, and those of threads that have
// their own: by unshare(CLONE_FILES), or as the main thread has ended.
func (f *Found) addTables(pid int) error {
	dir, first := "/proc/"+strconv.Itoa(pid), len(f.refs)
	err := f.addTable(dir+"/fd", pid)
	if errors.Is(err, os.ErrPermission) && hasNoMemory(dir) {
		err = nil // a main thread that has ended, or a kernel thread: they have none
	}
	if err != nil {
		return err
	}
	threads, err := numbersIn(dir + "/task")
	if err != nil || len(threads) < 2 {
		return err
	}
	listed, known := []int{pid}, true
	for _, thread := range threads {
		shared := slices.ContainsFunc(listed, func(other int) bool {
			same := thread == other
			if !same && known {
				same, known = shareTable(thread, other)
			}
			return same
		})
		if shared {
			continue
		}
		if err := f.addTable(dir+"/task/"+strconv.Itoa(thread)+"/fd", thread); err != nil && !isGone(err) {
			return err
		}
		listed = append(listed, thread)
	}
	if !known {
		f.compact(first)
	}
	return nil
}

// shareTable reports whether two threads have the same table of descriptors, and
// whether the kernel says: kcmp(2) takes CONFIG_KCMP.
func shareTable(a, b int) (same, ok bool) {
	const kcmpFiles = 2 // KCMP_FILES
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return errno == 0 && order == 0, errno == 0 || errno == unix.ESRCH
}

// compact keeps one of the descriptors from f.refs[first] on that have the same
// number and socket: they are likely those of a table that was listed twice.
func (f *Found) compact(first int) {
	slices.SortFunc(f.refs[first:], func(a, b ref) int {
		return cmp.Or(cmp.Compare(a.inode, b.inode), cmp.Compare(a.fd, b.fd), cmp.Compare(a.table, b.table))
	})
	rest := slices.CompactFunc(f.refs[first:], func(a, b ref) bool { return a.inode == b.inode && a.fd == b.fd })
	f.refs = f.refs[:first+len(rest)]
}

// addTable lists the sockets of a table of descriptors.
func (f *Found) addTable(dir string, thread int) error {
	fds, err := os.Open(dir)
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
		f.tables = append(f.tables, table{thread: thread})
	}
	return nil
}

// addFrom adds what a directory such as /proc/PID/fd shows.
func (f *Found) addFrom(fds *os.File) error {
	for {
		names, err := fds.Readdirnames(512)
		for _, name := range names {
			inode, ok := readSocket(int(fds.Fd()), name)
			if fd, err := strconv.Atoi(name); ok && err == nil {
				f.refs = append(f.refs, ref{inode: inode, table: int32(len(f.tables)), fd: int32(fd)})
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
func readSocket(dir int, name string) (inode uint32, ok bool) {
	var target [64]byte
	n, err := unix.Readlinkat(dir, name, target[:])
	number, ok := bytes.CutPrefix(target[:max(n, 0)], []byte("socket:["))
	if err != nil || !ok {
		return 0, false
	}
	parsed, err := strconv.ParseUint(string(bytes.TrimSuffix(number, []byte("]"))), 10, 32)
	return uint32(parsed), err == nil
}

func isGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

// hasNoMemory reports whether a thread is one of the kernel or has ended. Who may
// see it at all may read its status.
func hasNoMemory(dir string) bool {
	status, err := os.ReadFile(dir + "/status")
	return err == nil && !bytes.Contains(status, []byte("\nVmSize:"))
}
