package sockets

import "github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"

// A holderFinder finds the processes that hold sockets, again and again.
type holderFinder struct {
	descriptors *bpfIterator // nil where it returns ids of another PID namespace
}

func newHolderFinder(kernel *kernelfields.Finder) (*holderFinder, error) {
	if seesAllProcesses() != nil {
		return new(holderFinder), nil
	}
	descriptors, err := newBPFIterator(kernel, "task_file", descriptorInstructions(kernel))
	return &holderFinder{descriptors}, err
}

func (h *holderFinder) Close() error {
	if h.descriptors == nil {
		return nil
	}
	return h.descriptors.Close()
}

// find adds the Holders that losses have now.
func (h *holderFinder) find(losses []*Loss) {
	wanted := make(map[uint32]bool)
	for _, l := range losses {
		if l.inode != 0 && len(l.Socket.Holders) == 0 {
			wanted[l.inode] = true
		}
	}
	if len(wanted) == 0 {
		return
	}
	var f Found
	h.list(&f, wanted)
	f.group()
	for _, l := range losses {
		if wanted[l.inode] {
			l.Socket.Holders = f.holders(f.refsOf(l.inode), nil)
		}
	}
}

// list lists descriptors, at least those of the wanted sockets. Those that can't be
// listed are left out.
func (h *holderFinder) list(f *Found, wanted map[uint32]bool) {
	if h.descriptors == nil {
		descriptors{}.list(f)
		return
	}
	var p processTables
	stream(h.descriptors, func(d *descriptor) bool {
		if wanted[d.inode] {
			p.add(f, d)
		}
		return true
	})
	p.finish(f)
}
