package sockets

import (
	"errors"
	"fmt"
	"os"
)

// Reading is how sockets are listed and read. Both ways find the same. The zero
// Reading is [ByIterator] where that is possible, and [ByDescriptor] elsewhere.
type Reading string

const (
	// ByIterator reads the descriptors of all processes with a program of eBPF.
	// It takes CAP_BPF and CAP_PERFMON, the machine's own PID namespace, and a
	// kernel that has type information (BTF) with the fields of package
	// kernelfields.
	ByIterator Reading = "bpf"
	// ByDescriptor lists the descriptors in /proc, and duplicates each one with
	// pidfd_getfd(2). It takes the right to trace each process.
	ByDescriptor Reading = "getfd"
)

// String and Set make it the value of a flag.
func (r *Reading) String() string { return string(*r) }

// Set accepts the names of both ways.
func (r *Reading) Set(s string) error {
	switch Reading(s) {
	case ByIterator, ByDescriptor:
		*r = Reading(s)
		return nil
	}
	return fmt.Errorf("want %s or %s", ByIterator, ByDescriptor)
}

// Type is what a flag calls its value.
func (r *Reading) Type() string { return "reader" }

// A source lists the descriptors of sockets and reads the sockets.
type source interface {
	// list fills in refs, with those of a process next to each other, tables
	// and refusals.
	list(f *Found) error
	// read yields sockets, given by their indexes into Found.sockets. It leaves
	// out what is no TCP socket, is gone or can't be read.
	read(f *Found, indexes []int32, yield func(*Socket) bool)
	close()
}

// descriptors is the source of [ByDescriptor].
type descriptors struct{}

func (descriptors) close() {}

// newSource returns a source, and why it is not the iterator.
func newSource(reading Reading) (s source, fallback, err error) {
	if reading == ByDescriptor {
		return descriptors{}, errors.New("it was asked for"), nil
	}
	iterator, err := newIterator()
	switch {
	case err == nil:
		return iterator, nil, nil
	case reading == ByIterator:
		return nil, nil, fmt.Errorf("the sockets can't be read with eBPF: %w", err)
	}
	return descriptors{}, err, nil
}

// Reading returns how the sockets were read, and why not [ByIterator].
func (f *Found) Reading() (Reading, error) {
	if f.fallback != nil {
		return ByDescriptor, f.fallback
	}
	return ByIterator, nil
}

// iterator is the source of [ByIterator].
type iterator struct {
	files   *bpfIterator
	hz      uint64
	records [][]record
}

func newIterator() (*iterator, error) {
	if err := seesAllProcesses(); err != nil {
		return nil, err
	}
	hz, err := readHZ()
	if err != nil {
		return nil, err
	}
	files, err := newTaskFile()
	if err != nil {
		return nil, err
	}
	return &iterator{files: files, hz: hz}, nil
}

func (i *iterator) close() { i.files.Close() }

// seesAllProcesses returns an error where /proc may not name the processes that the
// iterator returns: it has their ids in the machine's own PID namespace.
func seesAllProcesses() error {
	const initialPIDNamespace = "pid:[4026531836]" // PROC_PID_INIT_INO
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own != initialPIDNamespace {
		return errors.New("this is not the machine's own PID namespace")
	}
	return hiddenProcesses("/proc")
}

// list implements [source].
func (i *iterator) list(f *Found) (err error) {
	if i.records, err = readRecords(i.files); err != nil {
		return err
	}
	var p processTables
	namespaces := make(map[uint32][]ref) // a descriptor of each process that has sockets there
	type place struct{ netns, pid uint32 }
	var last place
	for c, chunk := range i.records {
		for j := range chunk {
			p.add(f, &chunk[j], int32(c*recordsAtOnce+j))
			if in := (place{chunk[j].netns, chunk[j].pid}); in != last && !p.isCopy {
				namespaces[in.netns], last = append(namespaces[in.netns], f.refs[len(f.refs)-1]), in
			}
		}
	}
	p.finish(f)
	delete(namespaces, 0) // of Multipath TCP
	f.census.addOthers(f, namespaces)
	return nil
}

// processTables are the tables of descriptors of a process that the iterator has
// reached.
type processTables struct {
	pid, thread uint32
	first       int // index into Found.refs
	tables      int // index into Found.tables
	isCopy      bool
	unknown     bool // whether some are copies
}

// add adds a descriptor. Each thread of a process whose main thread has ended has
// the same table: one of them is enough.
func (p *processTables) add(f *Found, r *record, index int32) {
	if r.pid != p.pid {
		p.finish(f)
		*p = processTables{pid: r.pid, first: len(f.refs), tables: len(f.tables)}
	}
	if r.thread != p.thread {
		p.thread, p.isCopy = r.thread, false
		for _, t := range f.tables[p.tables:] {
			same, known := shareTable(t.thread, int(r.thread))
			p.isCopy = p.isCopy || same
			p.unknown = p.unknown || !known
		}
		if !p.isCopy {
			f.tables = append(f.tables, table{thread: int(r.thread)})
		}
	}
	if !p.isCopy {
		f.refs = append(f.refs, ref{inode: r.inode, table: int32(len(f.tables)) - 1, fd: int32(r.fd), record: index})
	}
}

// finish names the process.
func (p *processTables) finish(f *Found) {
	if len(f.tables) == p.tables {
		return
	}
	process := newProcess(int(p.pid), comm(int(p.pid)))
	for i := range f.tables[p.tables:] {
		f.tables[p.tables+i].Process = process
	}
	if p.unknown {
		f.compact(p.first)
	}
}

// read implements [source]. What a record lacks is read from the socket.
func (i *iterator) read(f *Found, indexes []int32, yield func(*Socket) bool) {
	r := f.NewReader()
	r.cached = true
	defer r.Close()
	for _, index := range indexes {
		s := i.socket(f, int(index))
		if s == nil {
			r.Read(int(index), func(read *Socket) { s = read })
		}
		if s != nil && !yield(s) {
			return
		}
	}
}

// socket returns a socket, or nil where the record lacks something.
func (i *iterator) socket(f *Found, index int) *Socket {
	refs := f.refsOf(index)
	at := refs[0].record
	r := &i.records[at/recordsAtOnce][at%recordsAtOnce]
	if !r.isComplete() {
		return nil
	}
	s := &Socket{Index: index, fd: -1, Holders: f.holders(refs)}
	r.fill(s, i.hz)
	s.namespace = f.namespaces.byInode(s.NetNS)
	s.setTimer(f.timer(s, r.inode))
	return s
}
