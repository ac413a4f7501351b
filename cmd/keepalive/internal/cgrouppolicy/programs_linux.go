package cgrouppolicy

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// setOnEstablished sets the options on every connection once it is established. It ignores
// errors: [Check] has found out that there are none.
func setOnEstablished(options []option) *ebpf.ProgramSpec {
	var set asm.Instructions
	for _, o := range options {
		set = append(set, o.set()...)
	}
	return sockOps("keepalive_set", onEstablished(set))
}

// rewriteSetsockopt replaces the value of each option that a program sets on a TCP
// socket. It stores registers: before Linux 6.4 the verifier refuses to store a
// constant in a context.
func rewriteSetsockopt(options []option) *ebpf.ProgramSpec {
	program := append(ifTCP(true), dispatch(options, asm.R6, "rewrite", func(i int) int32 { return options[i].value })...)
	program = append(program, leaveAlone(asm.R1)...)
	rewrite := replaceBy(asm.R1, asm.R6)
	rewrite[0] = rewrite[0].WithSymbol("rewrite")
	program = append(program, rewrite...)
	return setsockoptProgram("keepalive_keep", program)
}

// refuseMPTCP makes socket(2) fail with EPERM for MPTCP. Subflows that join a
// connection were seen without keepalive.
func refuseMPTCP() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "keepalive_mptcp", Type: ebpf.CGroupSock, AttachType: ebpf.AttachCGroupInetSockCreate,
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, sockProtocol, asm.Word),
			asm.Mov.Imm(asm.R0, 0),
			asm.JEq.Imm(asm.R2, unix.IPPROTO_MPTCP, "exit"),
			asm.Mov.Imm(asm.R0, 1),
			asm.Return().WithSymbol("exit"),
		},
	}
}

// refuseMPTCPOfGroups does so where the rules refuse it to the group of the process.
func refuseMPTCPOfGroups(m *maps) *ebpf.ProgramSpec {
	p := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, sockProtocol, asm.Word),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_MPTCP, "exit"),
		asm.FnGetCurrentCgroupId.Call(),
		asm.StoreMem(asm.RFP, mapKey, asm.R0, asm.DWord),
	}
	p = append(p, m.lookUpTable("exit")...)
	p = append(p, m.lookUpGroup()...)
	return &ebpf.ProgramSpec{
		Name: "keepalive_mptcp", Type: ebpf.CGroupSock, AttachType: ebpf.AttachCGroupInetSockCreate,
		Instructions: append(p,
			asm.LoadMem(asm.R1, asm.R0, memberRefuse, asm.DWord),
			asm.Mov.Imm(asm.R0, 0),
			asm.JNE.Imm(asm.R1, 0, "refuse"),
			asm.Mov.Imm(asm.R0, 1).WithSymbol("exit"),
			asm.Return().WithSymbol("refuse"),
		),
	}
}
