package sockets

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// Reading is how sockets are listed and read. Both ways find the same. The zero
// Reading is [ByIterator] where that is possible, and [ByDescriptor] elsewhere.
type Reading string

const (
	// ByIterator reads the descriptors of all processes with a program of eBPF.
	// It takes CAP_BPF and CAP_PERFMON, the machine's own PID namespace, and a
	// kernel whose type information (BTF) has the fields that it reads.
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
	// list fills in refs, tables and refusals. The refs of a process stand
	// next to each other.
	list(f *Found) error
	// read yields the sockets that one of the wanted tables has, in the order of
	// the tables. It leaves out what is no TCP socket, is gone or can't be read,
	// and may leave out what is not suspect if only suspects are asked for.
	read(f *Found, wanted []bool, suspects bool, yield func(*Socket) bool)
	close()
}

// descriptors is the source of [ByDescriptor].
type descriptors struct {
	only []int // processes, nil for all
}

var errFew = errors.New("few processes are asked for")

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

// iterator is the source of [ByIterator]. It goes through all descriptors twice: who
// holds what has to be known before the first socket is yielded, and takes less
// memory than what is known of the sockets.
type iterator struct {
	descriptors, records *bpfIterator
	hz                   uint64
	socket               Socket // that was yielded last
}

func newIterator() (i *iterator, err error) {
	if err := mayTrace(); err != nil {
		return nil, err
	}
	if err := seesAllProcesses(); err != nil {
		return nil, err
	}
	i = new(iterator)
	if i.hz, err = readHZ(); err != nil {
		return nil, err
	}
	kernel, err := kernelfields.New()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	if i.descriptors, err = newBPFIterator(kernel, "task_file", descriptorInstructions(kernel)); err != nil {
		return nil, err
	}
	if i.records, err = newBPFIterator(kernel, "task_file", recordInstructions(kernel)); err != nil {
		i.descriptors.Close()
		return nil, err
	}
	return i, nil
}

func (i *iterator) close() {
	i.descriptors.Close()
	i.records.Close()
}

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
	var p processTables
	namespaces := make(map[uint32][]ref) // unknown ones, with descriptors of sockets there
	type place struct{ netns, pid uint32 }
	var last place
	err = stream(i.descriptors, func(d *descriptor) bool {
		p.add(f, d)
		if in := (place{d.netns, d.pid}); in != last && !p.isCopy {
			last = in
			if f.namespaces.byInode(uint64(d.netns)) == nil {
				namespaces[d.netns] = append(namespaces[d.netns], f.refs[len(f.refs)-1])
			}
		}
		return true
	})
	p.finish(f)
	f.census.addOthers(f, namespaces)
	return err
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
func (p *processTables) add(f *Found, d *descriptor) {
	if d.pid != p.pid {
		p.finish(f)
		*p = processTables{pid: d.pid, first: len(f.refs), tables: len(f.tables)}
	}
	if d.thread != p.thread {
		p.thread, p.isCopy = d.thread, false
		for _, t := range f.tables[p.tables:] {
			same, known := shareTable(t.thread, int(d.thread))
			p.isCopy = p.isCopy || same
			p.unknown = p.unknown || !known
		}
		if !p.isCopy {
			f.tables = append(f.tables, table{thread: int(d.thread)})
		}
	}
	if !p.isCopy {
		f.refs = append(f.refs, ref{d.inode, int32(len(f.tables)) - 1, int32(d.fd), d.maySuspect != 0})
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
func (i *iterator) read(f *Found, wanted []bool, suspects bool, yield func(*Socket) bool) {
	r := f.NewReader()
	r.cached = true
	defer r.Close()
	if suspects {
		const few = 1000 // cost less than another walk does of 10,000 sockets
		indexes := f.heldBy(func(refs []ref) bool { return refs[0].maySuspect && isHeld(refs, wanted) })
		if len(indexes) <= few && credentials.Of("self").Has(unix.CAP_SYS_PTRACE) {
			r.readEach(indexes, yield)
			return
		}
	}
	done := make([]uint64, (len(f.refs)+63)/64) // a bit for the first ref of each socket
	stopped := false
	err := stream(i.records, func(rec *record) bool {
		refs := f.refsOf(rec.inode)
		if len(refs) == 0 || !isHeld(refs, wanted) { // none where it is new
			return true
		}
		first := f.indexOf(refs)
		if bit := uint64(1) << (first % 64); done[first/64]&bit == 0 {
			done[first/64] |= bit
			stopped = !i.yield(r, first, refs, rec, yield)
		}
		return !stopped
	})
	if err != nil && !stopped { // which is not expected
		r.readEach(f.heldBy(func(refs []ref) bool {
			first := f.indexOf(refs)
			return done[first/64]&(1<<(first%64)) == 0 && isHeld(refs, wanted)
		}), yield)
	}
}

// readEach yields sockets one after the other.
func (r *Reader) readEach(indexes []int32, yield func(*Socket) bool) {
	more := true
	for _, index := range indexes {
		if r.Read(int(index), func(s *Socket) { more = yield(s) }); !more {
			return
		}
	}
}

// yield yields a socket.
func (i *iterator) yield(r *Reader, first int, refs []ref, rec *record, yield func(*Socket) bool) (more bool) {
	f := r.found
	if !rec.isComplete() {
		more = true
		r.Read(first, func(s *Socket) { more = yield(s) })
		return more
	}
	s := &i.socket // as garbage, they would take as much memory as all else
	*s = Socket{Index: first, fd: -1, namespace: f.namespaces.byInode(uint64(rec.netns)), Holders: f.holders(refs, s.Holders[:0])}
	rec.fill(s, i.hz)
	s.setTimer(f.timer(s, rec.inode))
	return yield(s)
}
