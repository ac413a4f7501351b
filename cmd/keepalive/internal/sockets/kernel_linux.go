package sockets

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// kernelSockets returns the cookies of the TCP sockets of the calling thread's
// network namespace that no file is of, so that they are the kernel's own. A
// socket that is not accepted yet, or closed by its program, has no struct socket
// and is not among them. It takes CAP_BPF and CAP_PERFMON, and a kernel with BTF.
func kernelSockets() (cookies map[uint64]bool, err error) {
	spec, err := withoutFile()
	if err != nil {
		return nil, err
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	iter, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return nil, err
	}
	defer iter.Close()
	file, err := iter.Open()
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
func withoutFile() (*ebpf.ProgramSpec, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, err
	}
	skSocket, err := offset(kernel, "sock", "sk_socket")
	if err != nil {
		return nil, err
	}
	socketFile, err := offset(kernel, "socket", "file")
	if err != nil {
		return nil, err
	}
	const (
		iterMeta, iterSk = 0, 8 // struct bpf_iter__tcp
		metaSeq          = 0    // struct bpf_iter_meta
		cookieSize       = 8
	)
	return &ebpf.ProgramSpec{
		Name: "keepalive_own", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "tcp",
		License: "GPL", // for the helpers
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMem(asm.R7, asm.R6, iterSk, asm.DWord),
			asm.JEq.Imm(asm.R7, 0, "exit"),
			asm.Mov.Reg(asm.R1, asm.R7),
			asm.FnSkcToTcpSock.Call(), // null for TIME_WAIT and for requests
			asm.JEq.Imm(asm.R0, 0, "exit"),
			asm.LoadMem(asm.R1, asm.R0, skSocket, asm.DWord),
			asm.JEq.Imm(asm.R1, 0, "exit"),
			asm.LoadMem(asm.R1, asm.R1, socketFile, asm.DWord),
			asm.JNE.Imm(asm.R1, 0, "exit"),
			asm.Mov.Reg(asm.R1, asm.R7),
			asm.FnGetSocketCookie.Call(),
			asm.StoreMem(asm.RFP, -cookieSize, asm.R0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R6, iterMeta, asm.DWord),
			asm.LoadMem(asm.R1, asm.R1, metaSeq, asm.DWord),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -cookieSize),
			asm.Mov.Imm(asm.R3, cookieSize),
			asm.FnSeqWrite.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
			asm.Return(),
		},
	}, nil
}

// offset returns where a pointer lies in a struct of the kernel.
func offset(kernel *btf.Spec, structure, field string) (int16, error) {
	var s *btf.Struct
	if err := kernel.TypeByName(structure, &s); err != nil {
		return 0, err
	}
	for _, member := range s.Members {
		if member.Name == field {
			return int16(member.Offset.Bytes()), nil
		}
	}
	return 0, fmt.Errorf("struct %s has no field %s", structure, field)
}
