package sockets

import (
	"os"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A descriptor is what [descriptorInstructions] write of a descriptor of a socket.
type descriptor struct {
	inode, pid, thread, fd, netns uint32

	// maySuspect is whether something is unanswered, so that the peer may be
	// suspect. It is set for connections of Multipath TCP, where that is unknown.
	maySuspect uint32
}

// kernelOptions says where the kernel keeps each option: in a field of struct
// tcp_sock, and the default for a zero there in a field of struct net. Without a
// sysctl a kernel may lack the field, as it lacks the option.
var kernelOptions = map[string]struct {
	field, sysctl string
	jiffies       bool
}{
	"idle":         {"keepalive_time", "ipv4.sysctl_tcp_keepalive_time", true},
	"interval":     {"keepalive_intvl", "ipv4.sysctl_tcp_keepalive_intvl", true},
	"count":        {"keepalive_probes", "ipv4.sysctl_tcp_keepalive_probes", false},
	"user_timeout": {"inet_conn.icsk_user_timeout", "", false},
	"max_rto":      {"inet_conn.icsk_rto_max", "", true},
}

// Registers of the program.
const (
	ctxReg    = asm.R6
	fileReg   = asm.R7
	sockReg   = asm.R8 // struct sock, which struct tcp_sock begins with
	tcpReg    = asm.R9
	netReg    = asm.R2 // between calls
	exitLabel = "exit"
)

// recordInstructions is a program that writes a [record] of each descriptor of a
// socket.
func recordInstructions(k *kernelfields.Finder) asm.Instructions {
	p := ofSocket(k)
	p = append(p, zeros(unsafe.Sizeof(record{}))...)
	p = append(p, storeInode(k, unsafe.Offsetof(record{}.inode))...)
	p = append(p, socketInstructions(k)...)
	return append(p, write(k, "bpf_iter__task_file", unsafe.Sizeof(record{}))...)
}

// descriptorInstructions is a program that writes a [descriptor] of each of a socket.
func descriptorInstructions(k *kernelfields.Finder) asm.Instructions {
	const task = asm.R1
	p := ofSocket(k)
	p = append(p, zeros(unsafe.Sizeof(descriptor{}))...)
	p = append(p, storeInode(k, unsafe.Offsetof(descriptor{}.inode))...)
	for _, f := range []struct {
		base            asm.Register
		structure, path string
		offset          uintptr
	}{
		{task, "task_struct", "tgid", unsafe.Offsetof(descriptor{}.pid)},
		{task, "task_struct", "pid", unsafe.Offsetof(descriptor{}.thread)},
		{ctxReg, "bpf_iter__task_file", "fd", unsafe.Offsetof(descriptor{}.fd)},
	} {
		p = append(p, k.Load(asm.R2, f.base, f.structure, f.path), store(asm.R2, f.offset, asm.Word))
	}
	p = append(p,
		k.Load(asm.R2, sockReg, "sock", "__sk_common.skc_net.net"),
		k.Load(asm.R2, asm.R2, "net", "ns.inum"),
		store(asm.R2, unsafe.Offsetof(descriptor{}.netns), asm.Word),
		k.Load(asm.R1, sockReg, "sock", "__sk_common.skc_state"),
		asm.JEq.Imm(asm.R1, int32(Listen), "write"),
		asm.Mov.Imm(asm.R2, 1),
		store(asm.R2, unsafe.Offsetof(descriptor{}.maySuspect), asm.Word),
		asm.Mov.Reg(asm.R1, sockReg),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, "write"),
		k.Load(asm.R2, asm.R0, "inet_connection_sock", "icsk_retransmits"),
		k.Load(asm.R1, asm.R0, "inet_connection_sock", "icsk_probes_out"),
		asm.Or.Reg(asm.R2, asm.R1),
		store(asm.R2, unsafe.Offsetof(descriptor{}.maySuspect), asm.Word),
	)
	return append(p, write(k, "bpf_iter__task_file", unsafe.Sizeof(descriptor{}))...)
}

// ofSocket leaves the program unless the descriptor is of a TCP socket of another
// process. The task is in R1 then.
func ofSocket(k *kernelfields.Finder) asm.Instructions {
	const task = asm.R1
	return asm.Instructions{
		asm.Mov.Reg(ctxReg, asm.R1),
		k.Load(fileReg, ctxReg, "bpf_iter__task_file", "file"),
		asm.JEq.Imm(fileReg, 0, exitLabel),
		asm.Mov.Reg(asm.R1, fileReg),
		asm.FnSockFromFile.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		k.Load(sockReg, asm.R0, "socket", "sk"),
		asm.JEq.Imm(sockReg, 0, exitLabel),
		k.Load(asm.R1, sockReg, "sock", "sk_type"),
		asm.JNE.Imm(asm.R1, unix.SOCK_STREAM, exitLabel),
		k.Load(asm.R1, sockReg, "sock", "__sk_common.skc_family"),
		asm.JEq.Imm(asm.R1, unix.AF_INET, "internet"),
		asm.JNE.Imm(asm.R1, unix.AF_INET6, exitLabel),
		k.Load(asm.R1, sockReg, "sock", "sk_protocol").WithSymbol("internet"),
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_MPTCP, exitLabel),
		k.Load(task, ctxReg, "bpf_iter__task_file", "task").WithSymbol("tcp"),
		asm.JEq.Imm(task, 0, exitLabel),
		k.Load(asm.R2, task, "task_struct", "tgid"),
		asm.JEq.Imm(asm.R2, int32(os.Getpid()), exitLabel),
	}
}

// storeInode writes the inode of the file.
func storeInode(k *kernelfields.Finder, offset uintptr) asm.Instructions {
	return asm.Instructions{
		k.Load(asm.R2, fileReg, "file", "f_inode"),
		k.Load(asm.R2, asm.R2, "inode", "i_ino"),
		store(asm.R2, offset, asm.Word),
	}
}

// write hands out what lies on the stack and ends the program. Iterator is the type
// of the context.
func write(k *kernelfields.Finder, iterator string, size uintptr) asm.Instructions {
	return asm.Instructions{
		k.Load(asm.R1, ctxReg, iterator, "meta").WithSymbol("write"),
		k.Load(asm.R1, asm.R1, "bpf_iter_meta", "seq"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -onStack),
		asm.Mov.Imm(asm.R3, int32(size)),
		asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(exitLabel),
		asm.Return(),
	}
}

// onStack is where what is written lies, below the frame pointer.
const onStack = 256

var _ [onStack - unsafe.Sizeof(record{})]byte // it has room there

// zeros fills it with zeros.
func zeros(size uintptr) asm.Instructions {
	p := asm.Instructions{asm.Mov.Imm(asm.R0, 0)}
	for at := uintptr(0); at < size; at += 8 {
		p = append(p, asm.StoreMem(asm.RFP, stack(at), asm.R0, asm.DWord))
	}
	return p
}

// stack returns where an offset is, from the frame pointer.
func stack(offset uintptr) int16 { return int16(offset) - onStack }

// store writes a register.
func store(from asm.Register, offset uintptr, size asm.Size) asm.Instruction {
	return asm.StoreMem(asm.RFP, stack(offset), from, size)
}

// socketInstructions fills in what is of the socket. They leave it out for Multipath
// TCP, whose fields are elsewhere.
func socketInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(asm.R1, sockReg),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, "write"),
		asm.Mov.Reg(tcpReg, asm.R0),
	}
	return append(p, tcpInstructions(k)...)
}

// tcpInstructions fills in what is of a struct tcp_sock, in tcpReg.
func tcpInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		k.Load(asm.R1, tcpReg, "sock", "__sk_common.skc_family"),
		store(asm.R1, unsafe.Offsetof(record{}.family), asm.Half),
		asm.Mov.Reg(asm.R1, tcpReg),
		asm.FnGetSocketCookie.Call(),
		store(asm.R0, unsafe.Offsetof(record{}.cookie), asm.DWord),
	}
	p = append(p, addressInstructions(k)...)
	for _, f := range []struct {
		structure, path string
		offset          uintptr
		size            asm.Size
	}{
		{"sock", "__sk_common.skc_state", unsafe.Offsetof(record{}.state), asm.Byte},
		{"sock", "__sk_common.skc_dport", unsafe.Offsetof(record{}.remotePort), asm.Half},
		{"sock", "__sk_common.skc_bound_dev_if", unsafe.Offsetof(record{}.device), asm.Word},
		{"inet_sock", "inet_sport", unsafe.Offsetof(record{}.localPort), asm.Half},
		{"inet_connection_sock", "icsk_backoff", unsafe.Offsetof(record{}.backoff), asm.Byte},
		{"inet_connection_sock", "icsk_probes_out", unsafe.Offsetof(record{}.probes), asm.Byte},
		{"inet_connection_sock", "icsk_retransmits", unsafe.Offsetof(record{}.retransmits), asm.Byte},
		{"tcp_sock", "packets_out", unsafe.Offsetof(record{}.unacked), asm.Word},
		{"tcp_sock", "srtt_us", unsafe.Offsetof(record{}.srtt), asm.Word},
		{"inet_connection_sock", "icsk_ack.lrcvtime", unsafe.Offsetof(record{}.sinceData), asm.Word},
		{"tcp_sock", "rcv_tstamp", unsafe.Offsetof(record{}.sinceAck), asm.Word},
	} {
		p = append(p, k.Load(asm.R1, tcpReg, f.structure, f.path), store(asm.R1, f.offset, f.size))
	}
	if k.Has("sock", "sk_cgrp_data.cgroup") {
		p = append(p,
			k.Load(asm.R1, tcpReg, "sock", "sk_cgrp_data.cgroup"),
			k.Load(asm.R1, asm.R1, "cgroup", "kn"),
			k.Load(asm.R1, asm.R1, "kernfs_node", "id"),
			store(asm.R1, unsafe.Offsetof(record{}.group), asm.DWord),
		)
	}
	keepOpen := k.Enum("sock_flags", "SOCK_KEEPOPEN")
	p = append(p,
		asm.FnJiffies64.Call(),
		// The times become those since then.
		asm.LoadMem(asm.R1, asm.RFP, stack(unsafe.Offsetof(record{}.sinceData)), asm.Word),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Sub.Reg(asm.R2, asm.R1),
		store(asm.R2, unsafe.Offsetof(record{}.sinceData), asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, stack(unsafe.Offsetof(record{}.sinceAck)), asm.Word),
		asm.Sub.Reg(asm.R0, asm.R1),
		store(asm.R0, unsafe.Offsetof(record{}.sinceAck), asm.Word),

		k.Load(asm.R1, tcpReg, "sock", "__sk_common.skc_flags"),
		asm.RSh.Imm(asm.R1, keepOpen),
		asm.And.Imm(asm.R1, 1),
		store(asm.R1, unsafe.Offsetof(record{}.keepAlive), asm.Byte),

		k.Load(netReg, tcpReg, "sock", "__sk_common.skc_net.net"),
		k.Load(asm.R1, netReg, "net", "ns.inum"),
		store(asm.R1, unsafe.Offsetof(record{}.netns), asm.Word),
		k.Load(asm.R1, netReg, "net", "ipv4.sysctl_tcp_retries2"),
		store(asm.R1, unsafe.Offsetof(record{}.retriesSysctl), asm.Byte),
	)
	for i := range policy.Options {
		p = append(p, optionInstructions(k, i)...)
	}
	return p
}

// addressInstructions fills in the addresses.
func addressInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		k.Load(asm.R1, tcpReg, "sock", "__sk_common.skc_family"),
		asm.JEq.Imm(asm.R1, unix.AF_INET6, "internet6"),
		k.Load(asm.R1, tcpReg, "sock", "__sk_common.skc_rcv_saddr"),
		store(asm.R1, unsafe.Offsetof(record{}.local), asm.Word),
		k.Load(asm.R1, tcpReg, "sock", "__sk_common.skc_daddr"),
		store(asm.R1, unsafe.Offsetof(record{}.remote), asm.Word),
		asm.Ja.Label("addressed"),
	}
	local, remote := asm.Instructions{}, asm.Instructions{}
	for half := int16(0); half < 16; half += 8 {
		local = append(local,
			asm.LoadMem(asm.R1, tcpReg, k.Offset("sock", "__sk_common.skc_v6_rcv_saddr")+half, asm.DWord),
			store(asm.R1, unsafe.Offsetof(record{}.local)+uintptr(half), asm.DWord))
		remote = append(remote,
			asm.LoadMem(asm.R1, tcpReg, k.Offset("sock", "__sk_common.skc_v6_daddr")+half, asm.DWord),
			store(asm.R1, unsafe.Offsetof(record{}.remote)+uintptr(half), asm.DWord))
	}
	local[0] = local[0].WithSymbol("internet6")
	p = append(append(p, local...), remote...)
	return append(p, asm.Mov.Imm(asm.R1, 0).WithSymbol("addressed"))
}

// optionInstructions fills in an option. The network namespace is in netReg.
func optionInstructions(k *kernelfields.Finder, i int) asm.Instructions {
	key := policy.Options[i].Key
	in := kernelOptions[key]
	if in.sysctl == "" && !k.Has("tcp_sock", in.field) && policy.Options[i].Since != "" {
		return nil // the zero means the same as in policy.Get
	}
	p := asm.Instructions{k.Load(asm.R1, tcpReg, "tcp_sock", in.field)}
	done := "option_" + key
	if in.sysctl != "" {
		p = append(p, asm.JNE.Imm(asm.R1, 0, done), k.Load(asm.R1, netReg, "net", in.sysctl))
	}
	offset := unsafe.Offsetof(record{}.options) + uintptr(i)*unsafe.Sizeof(record{}.options[0])
	return append(p, store(asm.R1, offset, asm.Word).WithSymbol(done))
}
