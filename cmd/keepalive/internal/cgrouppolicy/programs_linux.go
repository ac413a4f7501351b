package cgrouppolicy

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Offsets of the fields of include/uapi/linux/bpf.h that the programs use.
const (
	sockOpsOp = 0 // struct bpf_sock_ops

	sockoptSk     = 0 // struct bpf_sockopt
	sockoptVal    = 8
	sockoptValEnd = 16
	sockoptLevel  = 24
	sockoptName   = 28
	sockoptLen    = 32

	sockType     = 8 // struct bpf_sock
	sockProtocol = 12
)

// Values of the op of struct bpf_sock_ops.
const (
	activeEstablished  = 4  // BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
	passiveEstablished = 5  // BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
	listening          = 11 // BPF_SOCK_OPS_TCP_LISTEN_CB
)

// sizeofInt is the size of a value of each option.
const sizeofInt = 4

// setOnEstablished sets the options on every connection once it is established. It ignores
// errors: [Check] has found out that there are none.
func setOnEstablished(options []option) *ebpf.ProgramSpec {
	program := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, sockOpsOp, asm.Word),
		asm.JEq.Imm(asm.R2, activeEstablished, "set"),
		asm.JNE.Imm(asm.R2, passiveEstablished, "exit"),
	}
	for i, o := range options {
		set := o.set()
		if i == 0 {
			set[0] = set[0].WithSymbol("set")
		}
		program = append(program, set...)
	}
	return sockOps("keepalive_set", program)
}

// set has a program set the option on the socket of the struct bpf_sock_ops in
// R6. The errno is in R0 then.
func (o *option) set() asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -sizeofInt, int64(o.value), asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, o.level),
		asm.Mov.Imm(asm.R3, o.number),
		asm.Mov.Reg(asm.R4, asm.RFP),
		asm.Add.Imm(asm.R4, -sizeofInt),
		asm.Mov.Imm(asm.R5, sizeofInt),
		asm.FnSetsockopt.Call(),
	}
}

func sockOps(name string, program asm.Instructions) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: name, Type: ebpf.SockOps, AttachType: ebpf.AttachCGroupSockOps,
		Instructions: append(program, asm.Mov.Imm(asm.R0, 1).WithSymbol("exit"), asm.Return()),
	}
}

// mostRead is more than what the kernel hands a program of the value that a
// setsockopt sets, a page at least. Before Linux 6.5 a longer one is an error,
// unless a program says that it leaves it alone by an optlen of zero:
// __cgroup_bpf_run_filter_setsockopt in kernel/bpf/cgroup.c.
const mostRead = 4096

// rewriteSetsockopt replaces the value of each option that a program sets on a TCP
// socket. It stores registers: before Linux 6.4 the verifier refuses to store a
// constant in a context.
func rewriteSetsockopt(options []option) *ebpf.ProgramSpec {
	program := asm.Instructions{
		asm.LoadMem(asm.R3, asm.R1, sockoptLen, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, sockoptSk, asm.DWord),
		asm.LoadMem(asm.R4, asm.R2, sockType, asm.Word), // a raw socket can have the protocol of TCP
		asm.JNE.Imm(asm.R4, unix.SOCK_STREAM, "leave"),
		asm.LoadMem(asm.R4, asm.R2, sockProtocol, asm.Word),
		asm.JEq.Imm(asm.R4, unix.IPPROTO_TCP, "tcp"),
		asm.JNE.Imm(asm.R4, unix.IPPROTO_MPTCP, "leave"),
		// The kernel refuses a value that is shorter than an int.
		asm.JLT.Imm(asm.R3, sizeofInt, "leave").WithSymbol("tcp"),
		asm.LoadMem(asm.R4, asm.R1, sockoptLevel, asm.Word),
		asm.LoadMem(asm.R5, asm.R1, sockoptName, asm.Word),
	}
	for i, o := range options {
		next := "leave"
		if i+1 < len(options) {
			next = options[i+1].name
		}
		program = append(program,
			asm.JNE.Imm(asm.R4, o.level, next).WithSymbol(o.name),
			asm.JNE.Imm(asm.R5, o.number, next),
			asm.Mov.Imm(asm.R6, o.value),
			asm.Ja.Label("rewrite"),
		)
	}
	program = append(program,
		asm.JLE.Imm(asm.R3, mostRead, "exit").WithSymbol("leave"),
		asm.Mov.Imm(asm.R3, 0),
		asm.StoreMem(asm.R1, sockoptLen, asm.R3, asm.Word),
		asm.Ja.Label("exit"),

		asm.LoadMem(asm.R2, asm.R1, sockoptVal, asm.DWord).WithSymbol("rewrite"),
		asm.LoadMem(asm.R5, asm.R1, sockoptValEnd, asm.DWord),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, sizeofInt),
		asm.JGT.Reg(asm.R4, asm.R5, "leave"),
		asm.StoreMem(asm.R2, 0, asm.R6, asm.Word),
		asm.Mov.Imm(asm.R3, sizeofInt),
		asm.StoreMem(asm.R1, sockoptLen, asm.R3, asm.Word),

		asm.Mov.Imm(asm.R0, 1).WithSymbol("exit"),
		asm.Return(),
	)
	return &ebpf.ProgramSpec{
		Name: "keepalive_keep", Type: ebpf.CGroupSockopt, AttachType: ebpf.AttachCGroupSetsockopt,
		Instructions: program,
	}
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
