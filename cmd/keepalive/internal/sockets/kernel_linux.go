package sockets

import (
	"encoding/binary"
	"io"

	"github.com/cilium/ebpf/asm"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// kernelSockets returns the cookies of the TCP sockets of the calling thread's
// network namespace that no file is of, so that they are the kernel's own. A
// socket that is not accepted yet, or closed by its program, has no struct socket
// and is not among them. It takes CAP_BPF and CAP_PERFMON, and a kernel with BTF.
func kernelSockets() (cookies map[uint64]bool, err error) {
	kernel, err := kernelfields.New()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	iterator, err := newBPFIterator(kernel, "tcp", withoutFile(kernel))
	if err != nil {
		return nil, err
	}
	defer iterator.Close()
	file, err := iterator.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	output, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	cookies = make(map[uint64]bool)
	for ; len(output) >= 8; output = output[8:] {
		cookies[binary.NativeEndian.Uint64(output)] = true
	}
	return cookies, nil
}

// withoutFile is an iterator over TCP sockets, which writes the cookie of each
// that has a struct socket without a struct file.
func withoutFile(kernel *kernelfields.Finder) asm.Instructions {
	const cookieSize = 8
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		kernel.Load(asm.R7, asm.R6, "bpf_iter__tcp", "sk_common"),
		asm.JEq.Imm(asm.R7, 0, "exit"),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnSkcToTcpSock.Call(), // null for TIME_WAIT and for requests
		asm.JEq.Imm(asm.R0, 0, "exit"),
		kernel.Load(asm.R1, asm.R0, "sock", "sk_socket"),
		asm.JEq.Imm(asm.R1, 0, "exit"),
		kernel.Load(asm.R1, asm.R1, "socket", "file"),
		asm.JNE.Imm(asm.R1, 0, "exit"),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.FnGetSocketCookie.Call(),
		asm.StoreMem(asm.RFP, -cookieSize, asm.R0, asm.DWord),
		kernel.Load(asm.R1, asm.R6, "bpf_iter__tcp", "meta"),
		kernel.Load(asm.R1, asm.R1, "bpf_iter_meta", "seq"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -cookieSize),
		asm.Mov.Imm(asm.R3, cookieSize),
		asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
		asm.Return(),
	}
}
