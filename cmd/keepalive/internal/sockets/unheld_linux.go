package sockets

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// Unheld returns the TCP sockets that no descriptor in sight is of, in the network
// namespaces that are known: those that wait to be accepted, that their program has
// closed, that io_uring or a message over a Unix socket holds, and the kernel's own.
// They have no Holders, and neither Get nor Apply works on them. It takes what
// [ByIterator] takes. Left out are closed sockets that only io_uring holds, and what
// the kernel keeps in short form: requests to connect, TIME-WAIT, and FIN-WAIT-2
// without a program.
func (f *Found) Unheld() (unheld []*Socket, err error) {
	i, ok := f.source.(*iterator)
	if !ok {
		return nil, f.fallback
	}
	kernel, err := kernelfields.New()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	tcp, err := newBPFIterator(kernel, "tcp", tcpIteratorInstructions(kernel))
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	own := ownSockets()
	for n := range f.census.counts {
		n.do(func() error { // Unseen says where that fails
			return stream(tcp, func(r *record) bool {
				if r.inode == 0 || !own[r.inode] && len(f.refsOf(r.inode)) == 0 {
					s := &Socket{fd: -1, namespace: n}
					r.fill(s, i.hz)
					unheld = append(unheld, s)
				}
				return true
			})
		})
	}
	for _, s := range unheld {
		s.setTimer(s.readTimer())
	}
	return unheld, nil
}

// tcpIteratorInstructions is a program that writes a record of each TCP socket of a
// network namespace. A subflow of Multipath TCP has the inode of its connection.
func tcpIteratorInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(ctxReg, asm.R1),
		k.Load(sockReg, ctxReg, "bpf_iter__tcp", "sk_common"),
		asm.JEq.Imm(sockReg, 0, exitLabel),
		asm.Mov.Reg(asm.R1, sockReg),
		asm.FnSkcToTcpSock.Call(), // null for TIME-WAIT and for requests
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		asm.Mov.Reg(tcpReg, asm.R0),
	}
	p = append(p, zeros(unsafe.Sizeof(record{}))...)
	p = append(p,
		k.Load(asm.R1, tcpReg, "sock", "sk_socket"), // null before it is accepted, and once it is closed
		asm.JEq.Imm(asm.R1, 0, "unheld"),
		k.Load(asm.R1, asm.R1, "socket", "file"), // null where it is the kernel's
		asm.JEq.Imm(asm.R1, 0, "unheld"),
		k.Load(asm.R1, asm.R1, "file", "f_inode"),
		k.Load(asm.R1, asm.R1, "inode", "i_ino"),
		store(asm.R1, unsafe.Offsetof(record{}.inode), asm.Word),
		asm.Mov.Imm(asm.R1, 0).WithSymbol("unheld"),
	)
	p = append(p, tcpInstructions(k)...)
	return append(p, write(k, "bpf_iter__tcp", unsafe.Sizeof(record{}))...)
}
