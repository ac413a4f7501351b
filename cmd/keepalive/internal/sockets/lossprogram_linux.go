package sockets

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// lossMaps are the descriptors of the maps that the programs of [Losses] share.
type lossMaps struct {
	ring   int // of lossRecords and closings
	missed int // at 0, how many records found the ring full
	open   int // the sockets that were written and are not closed yet: address to cookie
}

// Where the programs keep keys and values on the stack, below what they write.
const (
	keyOnStack   = -onStack - 8
	valueOnStack = -onStack - 16
)

// lossInstructions is a program at the tracepoint inet_sock_set_state. It writes a
// [lossRecord] of each connection whose peer the kernel gives up, or with others of
// each one that ends with an error, unless its program has closed it.
func lossInstructions(k *kernelfields.Finder, m lossMaps, others bool) asm.Instructions {
	const (
		errReg  = asm.R1
		softReg = asm.R2
	)
	p := asm.Instructions{
		asm.Mov.Reg(ctxReg, asm.R1),
		asm.LoadMem(asm.R1, ctxReg, 2*8, asm.DWord), // the new state
		asm.JNE.Imm(asm.R1, int32(closed), exitLabel),
		asm.LoadMem(sockReg, ctxReg, 0, asm.DWord),
		k.Load(errReg, sockReg, "sock", "sk_err"),
		asm.JNE.Imm(errReg, 0, "failed"),
		// Before Linux 6.10 tcp_write_err wakes the program first, which may have
		// taken the error by now. A close holds the lock, and a timer does not.
		k.Load(asm.R2, sockReg, "sock", "sk_lock.owned"),
		asm.JEq.Imm(asm.R2, 0, "ended"),
		asm.Ja.Label(exitLabel),
		asm.Mov.Imm(asm.R3, 0).WithSymbol("failed"),
	}
	if !others {
		p = append(p,
			asm.LoadMem(asm.R3, ctxReg, 1*8, asm.DWord), // the old state
			asm.JEq.Imm(asm.R3, int32(synSent), exitLabel),
			asm.JEq.Imm(asm.R3, int32(synReceived), exitLabel),
			k.Load(softReg, sockReg, "sock", "sk_err_soft"),
			asm.JNE.Imm(softReg, 0, "soft"),
			asm.Mov.Imm(softReg, int32(unix.ETIMEDOUT)),
			asm.JNE.Reg(errReg, softReg, exitLabel).WithSymbol("soft"),
		)
	}
	p = append(p,
		k.Load(asm.R1, sockReg, "sock", "__sk_common.skc_flags").WithSymbol("ended"),
		asm.RSh.Imm(asm.R1, k.Enum("sock_flags", "SOCK_DEAD")),
		asm.And.Imm(asm.R1, 1),
		asm.JNE.Imm(asm.R1, 0, exitLabel),
		asm.Mov.Reg(asm.R1, sockReg),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		asm.Mov.Reg(tcpReg, asm.R0),
		k.Load(asm.R1, tcpReg, "sock", "sk_err"),
		asm.JNE.Imm(asm.R1, 0, "tcp"),
		k.Load(asm.R1, tcpReg, "inet_connection_sock", "icsk_retransmits"),
		k.Load(asm.R2, tcpReg, "inet_connection_sock", "icsk_probes_out"),
		asm.Or.Reg(asm.R1, asm.R2),
		asm.JEq.Imm(asm.R1, 0, exitLabel),
		asm.Mov.Imm(asm.R1, 0).WithSymbol("tcp"),
	)
	if k.Has("tcp_sock", "is_mptcp") {
		p = append(p, k.Load(asm.R1, tcpReg, "tcp_sock", "is_mptcp"), asm.JNE.Imm(asm.R1, 0, exitLabel))
	}
	p = append(p, zeros(unsafe.Sizeof(lossRecord{}))...)
	p = append(p, endInstructions(k)...)
	p = append(p, tcpInstructions(k)...)
	p = append(p, remember(m)...)
	p = append(p, output(m, unsafe.Sizeof(lossRecord{}))...)
	p = append(p, countMissed(m)...)
	return append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol(exitLabel), asm.Return())
}

// remember notes that the socket is open, or leaves the program if the other copy of
// it has done so.
func remember(m lossMaps) asm.Instructions {
	const cookie = asm.R7
	return asm.Instructions{
		asm.LoadMem(cookie, asm.RFP, stack(unsafe.Offsetof(record{}.cookie)), asm.DWord),
		asm.StoreMem(asm.RFP, keyOnStack, tcpReg, asm.DWord),
		asm.StoreMem(asm.RFP, valueOnStack, cookie, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.open),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyOnStack),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "new"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.JEq.Reg(asm.R1, cookie, exitLabel),
		asm.LoadMapPtr(asm.R1, m.open).WithSymbol("new"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyOnStack),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, valueOnStack),
		asm.Mov.Imm(asm.R4, unix.BPF_ANY),
		asm.FnMapUpdateElem.Call(),
	}
}

// endInstructions fill in what a [lossRecord] has more than a [record].
func endInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		asm.FnKtimeGetNs.Call(),
		store(asm.R0, unsafe.Offsetof(lossRecord{}.when), asm.DWord),
		asm.FnJiffies64.Call(),
		k.Load(asm.R1, tcpReg, "inet_connection_sock", "icsk_probes_tstamp"),
		asm.Sub.Reg(asm.R0, asm.R1),
		store(asm.R0, unsafe.Offsetof(lossRecord{}.sinceProbing), asm.Word),
		// Null is no fault: what follows is 0 then.
		k.Load(asm.R1, tcpReg, "sock", "sk_socket"),
		k.Load(asm.R1, asm.R1, "socket", "file"),
		k.Load(asm.R1, asm.R1, "file", "f_inode"),
		k.Load(asm.R1, asm.R1, "inode", "i_ino"),
		store(asm.R1, unsafe.Offsetof(record{}.inode), asm.Word),
	}
	for _, f := range []struct {
		structure, path string
		offset          uintptr
	}{
		{"sock", "sk_err", unsafe.Offsetof(lossRecord{}.err)},
		{"sock", "sk_err_soft", unsafe.Offsetof(lossRecord{}.softErr)},
		{"sock", "__sk_common.skc_flags", unsafe.Offsetof(lossRecord{}.flags)},
		{"tcp_sock", "snd_una", unsafe.Offsetof(lossRecord{}.sndUna)},
		{"tcp_sock", "snd_nxt", unsafe.Offsetof(lossRecord{}.sndNxt)},
		{"tcp_sock", "write_seq", unsafe.Offsetof(lossRecord{}.writeSeq)},
	} {
		p = append(p, k.Load(asm.R1, tcpReg, f.structure, f.path), store(asm.R1, f.offset, asm.Word))
	}
	if k.Has("sock", "sk_cgrp_data.cgroup") { // since Linux 5.15
		p = append(p,
			k.Load(asm.R1, tcpReg, "sock", "sk_cgrp_data.cgroup"),
			k.Load(asm.R1, asm.R1, "cgroup", "kn"),
			k.Load(asm.R1, asm.R1, "kernfs_node", "id"),
			store(asm.R1, unsafe.Offsetof(lossRecord{}.cgroup), asm.DWord),
		)
	}
	return p
}

// output writes what lies on the stack to the ring.
func output(m lossMaps, size uintptr) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.ring),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -onStack),
		asm.Mov.Imm(asm.R3, int32(size)),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
	}
}

// countMissed leaves the program if the output has failed, and counts it.
func countMissed(m lossMaps) asm.Instructions {
	return asm.Instructions{
		asm.JEq.Imm(asm.R0, 0, "written"),
		asm.StoreImm(asm.RFP, keyOnStack, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, m.missed),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyOnStack),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Ja.Label(exitLabel),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("written"),
	}
}

// A closing is what [closingInstructions] write of a socket that is closed after its
// [lossRecord].
type closing struct {
	cookie uint64
	pid    uint32
	comm   [16]byte // TASK_COMM_LEN
	_      uint32
}

// closingInstructions is a program at the tracepoint tcp_destroy_sock. It writes a
// [closing] of a socket whose loss was written: the calling process is the last one
// that held it.
func closingInstructions(m lossMaps) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(sockReg, asm.R1, 0, asm.DWord),
		asm.StoreMem(asm.RFP, keyOnStack, sockReg, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.open),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyOnStack),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
	}
	p = append(p, zeros(unsafe.Sizeof(closing{}))...)
	p = append(p,
		store(asm.R7, unsafe.Offsetof(closing{}.cookie), asm.DWord),
		asm.LoadMapPtr(asm.R1, m.open),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, keyOnStack),
		asm.FnMapDeleteElem.Call(),
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		store(asm.R0, unsafe.Offsetof(closing{}.pid), asm.Word),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, int32(stack(unsafe.Offsetof(closing{}.comm)))),
		asm.Mov.Imm(asm.R2, int32(unsafe.Sizeof(closing{}.comm))),
		asm.FnGetCurrentComm.Call(),
	)
	p = append(p, output(m, unsafe.Sizeof(closing{}))...)
	return append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol(exitLabel), asm.Return())
}
