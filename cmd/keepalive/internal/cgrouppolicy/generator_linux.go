package cgrouppolicy

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// What this file has is what programs with one policy and programs with rules are made
// of: nothing else turns an option into instructions.

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

// onEstablished has a program of a struct bpf_sock_ops, in R1, do something once a
// connection is established.
func onEstablished(do asm.Instructions) asm.Instructions {
	do[0] = do[0].WithSymbol("established")
	return append(asm.Instructions{
		asm.Mov.Reg(ctxReg, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, sockOpsOp, asm.Word),
		asm.JEq.Imm(asm.R2, activeEstablished, "established"),
		asm.JNE.Imm(asm.R2, passiveEstablished, "exit"),
	}, do...)
}

func sockOps(name string, program asm.Instructions) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: name, Type: ebpf.SockOps, AttachType: ebpf.AttachCGroupSockOps,
		Instructions: append(program, asm.Mov.Imm(asm.R0, 1).WithSymbol("exit"), asm.Return()),
	}
}

// set has a program set the option on the socket of the struct bpf_sock_ops in
// R6. The errno is in R0 then.
func (o *option) set() asm.Instructions {
	p := asm.Instructions{
		asm.StoreImm(asm.RFP, -sizeofInt, int64(o.value), asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
	}
	return append(p, o.setFrom(asm.RFP, -sizeofInt)...)
}

// setFrom has a program set the option on the socket in R1 to a value in memory.
func (o *option) setFrom(base asm.Register, offset int16) asm.Instructions {
	return o.call(asm.FnSetsockopt, base, offset)
}

// getTo has a program get the option into memory.
func (o *option) getTo(base asm.Register, offset int16) asm.Instructions {
	return o.call(asm.FnGetsockopt, base, offset)
}

func (o *option) call(helper asm.BuiltinFunc, base asm.Register, offset int16) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, o.level),
		asm.Mov.Imm(asm.R3, o.number),
		asm.Mov.Reg(asm.R4, base),
		asm.Add.Imm(asm.R4, int32(offset)),
		asm.Mov.Imm(asm.R5, sizeofInt),
		helper.Call(),
	}
}

// ifTCP leaves the program of a setsockopt unless the context in R1 is of a TCP
// socket, or where mptcp is set of one of MPTCP, and its value is an int at least. The
// level and the name are in R4 and R5 then.
func ifTCP(mptcp bool) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R3, asm.R1, sockoptLen, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, sockoptSk, asm.DWord),
		asm.LoadMem(asm.R4, asm.R2, sockType, asm.Word), // a raw socket can have the protocol of TCP
		asm.JNE.Imm(asm.R4, unix.SOCK_STREAM, "leave"),
		asm.LoadMem(asm.R4, asm.R2, sockProtocol, asm.Word),
	}
	if mptcp {
		p = append(p,
			asm.JEq.Imm(asm.R4, unix.IPPROTO_TCP, "tcp"),
			asm.JNE.Imm(asm.R4, unix.IPPROTO_MPTCP, "leave"),
		)
	} else {
		p = append(p, asm.JNE.Imm(asm.R4, unix.IPPROTO_TCP, "leave"))
	}
	return append(p,
		// The kernel refuses a value that is shorter than an int.
		asm.JLT.Imm(asm.R3, sizeofInt, "leave").WithSymbol("tcp"),
		asm.LoadMem(asm.R4, asm.R1, sockoptLevel, asm.Word),
		asm.LoadMem(asm.R5, asm.R1, sockoptName, asm.Word),
	)
}

// dispatch goes on at found with a value in a register for the option whose level and
// name are in R4 and R5, or at leave.
func dispatch(options []option, to asm.Register, found string, value func(i int) int32) (p asm.Instructions) {
	for i, o := range options {
		next := "leave"
		if i+1 < len(options) {
			next = options[i+1].name
		}
		p = append(p,
			asm.JNE.Imm(asm.R4, o.level, next).WithSymbol(o.name),
			asm.JNE.Imm(asm.R5, o.number, next),
			asm.Mov.Imm(to, value(i)),
			asm.Ja.Label(found),
		)
	}
	return p
}

// leaveAlone ends the program of a setsockopt. A length of -1, by which another program
// has swallowed it, stays.
func leaveAlone(ctx asm.Register) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R3, ctx, sockoptLen, asm.Word).WithSymbol("leave"),
		asm.JEq.Imm32(asm.R3, -1, "exit"),
		asm.JLE.Imm(asm.R3, mostRead, "exit"),
		asm.Mov.Imm(asm.R3, 0),
		asm.StoreMem(ctx, sockoptLen, asm.R3, asm.Word),
		asm.Ja.Label("exit"),
	}
}

// replaceBy has the kernel set what is in a register.
func replaceBy(ctx, value asm.Register) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, ctx, sockoptVal, asm.DWord),
		asm.LoadMem(asm.R5, ctx, sockoptValEnd, asm.DWord),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, sizeofInt),
		asm.JGT.Reg(asm.R4, asm.R5, "leave"),
		asm.StoreMem(asm.R2, 0, value, asm.Word),
		asm.Mov.Imm(asm.R3, sizeofInt),
		asm.StoreMem(ctx, sockoptLen, asm.R3, asm.Word),
	}
}

// mostRead is more than what the kernel hands a program of the value that a
// setsockopt sets, a page at least. Before Linux 6.5 a longer one is an error,
// unless a program says that it leaves it alone by an optlen of zero:
// __cgroup_bpf_run_filter_setsockopt in kernel/bpf/cgroup.c.
const mostRead = 4096

func setsockoptProgram(name string, program asm.Instructions) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: name, Type: ebpf.CGroupSockopt, AttachType: ebpf.AttachCGroupSetsockopt,
		Instructions: append(program, asm.Mov.Imm(asm.R0, 1).WithSymbol("exit"), asm.Return()),
	}
}
