package sockets

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// newTaskFile returns an iterator that writes records of the descriptors of all
// processes but this one. Close it.
func newTaskFile() (*bpfIterator, error) { return newBPFIterator("task_file", taskFileInstructions) }

// recordsAtOnce makes a chunk of half a megabyte.
const recordsAtOnce = 4096

// readRecords returns what an iterator over records writes, in chunks of
// recordsAtOnce but for the last. That over descriptors goes by process, thread and
// descriptor.
func readRecords(i *bpfIterator) (chunks [][]record, err error) {
	file, err := i.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for {
		chunk := make([]record, recordsAtOnce)
		n, err := readWhole(file, unsafe.Slice((*byte)(unsafe.Pointer(&chunk[0])), len(chunk)*int(unsafe.Sizeof(record{}))))
		chunks = append(chunks, chunk[:n/int(unsafe.Sizeof(record{}))])
		if err == io.EOF {
			return chunks, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read of an iterator: %w", err)
		}
	}
}

// readWhole is io.ReadFull for an iterator, which returns EAGAIN after a million
// files that wrote nothing.
func readWhole(from io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) {
		got, err := from.Read(buffer[n:])
		n += got
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
	return n, nil
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
	context   = asm.R6
	file      = asm.R7
	sock      = asm.R8 // struct sock, which struct tcp_sock begins with
	tcpSock   = asm.R9
	network   = asm.R2 // between calls
	exitLabel = "exit"
)

// taskFileInstructions is a program that writes a [record] of each descriptor of a
// TCP socket.
func taskFileInstructions(k *kernelfields.Finder) asm.Instructions {
	const task = asm.R1
	p := asm.Instructions{
		asm.Mov.Reg(context, asm.R1),
		k.Load(file, context, "bpf_iter__task_file", "file"),
		asm.JEq.Imm(file, 0, exitLabel),
		asm.Mov.Reg(asm.R1, file),
		asm.FnSockFromFile.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		k.Load(sock, asm.R0, "socket", "sk"),
		asm.JEq.Imm(sock, 0, exitLabel),
		k.Load(asm.R1, sock, "sock", "sk_type"),
		asm.JNE.Imm(asm.R1, unix.SOCK_STREAM, exitLabel),
		k.Load(task, context, "bpf_iter__task_file", "task"),
		asm.JEq.Imm(task, 0, exitLabel),
		k.Load(asm.R2, task, "task_struct", "tgid"),
		asm.JEq.Imm(asm.R2, int32(os.Getpid()), exitLabel),
	}
	p = append(p, zeroInstructions()...)
	p = append(p,
		store(asm.R2, unsafe.Offsetof(record{}.pid), asm.Word),
		k.Load(asm.R2, task, "task_struct", "pid"),
		store(asm.R2, unsafe.Offsetof(record{}.thread), asm.Word),
		k.Load(asm.R2, context, "bpf_iter__task_file", "fd"),
		store(asm.R2, unsafe.Offsetof(record{}.fd), asm.Word),
		k.Load(asm.R2, file, "file", "f_inode"),
		k.Load(asm.R2, asm.R2, "inode", "i_ino"),
		store(asm.R2, unsafe.Offsetof(record{}.inode), asm.Word),
	)
	p = append(p, socketInstructions(k)...)
	return append(p, writeInstructions(k, "bpf_iter__task_file")...)
}

// writeInstructions write the record and end the program. Iterator is the type of
// the context.
func writeInstructions(k *kernelfields.Finder, iterator string) asm.Instructions {
	return asm.Instructions{
		k.Load(asm.R1, context, iterator, "meta").WithSymbol("write"),
		k.Load(asm.R1, asm.R1, "bpf_iter_meta", "seq"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(stack(0))),
		asm.Mov.Imm(asm.R3, int32(unsafe.Sizeof(record{}))),
		asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(exitLabel),
		asm.Return(),
	}
}

// zeroInstructions clear the record, and R0.
func zeroInstructions() asm.Instructions {
	p := asm.Instructions{asm.Mov.Imm(asm.R0, 0)}
	for at := uintptr(0); at < unsafe.Sizeof(record{}); at += 8 {
		p = append(p, asm.StoreMem(asm.RFP, stack(at), asm.R0, asm.DWord))
	}
	return p
}

// stack returns where the record has an offset, from the frame pointer.
func stack(offset uintptr) int16 { return int16(offset) - int16(unsafe.Sizeof(record{})) }

// store writes a register into the record.
func store(from asm.Register, offset uintptr, size asm.Size) asm.Instruction {
	return asm.StoreMem(asm.RFP, stack(offset), from, size)
}

// socketInstructions fills in what is of the socket. They leave the program where
// it is none of TCP's, and leave the rest out for Multipath TCP, whose fields are
// elsewhere.
func socketInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		k.Load(asm.R1, sock, "sock", "__sk_common.skc_family"),
		asm.JEq.Imm(asm.R1, unix.AF_INET, "internet"),
		asm.JNE.Imm(asm.R1, unix.AF_INET6, exitLabel),
		k.Load(asm.R2, sock, "sock", "sk_protocol").WithSymbol("internet"),
		asm.JEq.Imm(asm.R2, unix.IPPROTO_MPTCP, "write"),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_TCP, exitLabel),
		asm.Mov.Reg(asm.R1, sock),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		asm.Mov.Reg(tcpSock, asm.R0),
	}
	return append(p, tcpInstructions(k)...)
}

// tcpInstructions fills in what is of tcpSock.
func tcpInstructions(k *kernelfields.Finder) asm.Instructions {
	p := asm.Instructions{
		k.Load(asm.R1, tcpSock, "sock", "__sk_common.skc_family"),
		store(asm.R1, unsafe.Offsetof(record{}.family), asm.Half),
		asm.Mov.Reg(asm.R1, tcpSock),
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
		p = append(p, k.Load(asm.R1, tcpSock, f.structure, f.path), store(asm.R1, f.offset, f.size))
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

		k.Load(asm.R1, tcpSock, "sock", "__sk_common.skc_flags"),
		asm.RSh.Imm(asm.R1, keepOpen),
		asm.And.Imm(asm.R1, 1),
		store(asm.R1, unsafe.Offsetof(record{}.keepAlive), asm.Byte),

		k.Load(network, tcpSock, "sock", "__sk_common.skc_net.net"),
		k.Load(asm.R1, network, "net", "ns.inum"),
		store(asm.R1, unsafe.Offsetof(record{}.netns), asm.Word),
		k.Load(asm.R1, network, "net", "ipv4.sysctl_tcp_retries2"),
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
		k.Load(asm.R1, tcpSock, "sock", "__sk_common.skc_family"),
		asm.JEq.Imm(asm.R1, unix.AF_INET6, "internet6"),
		k.Load(asm.R1, tcpSock, "sock", "__sk_common.skc_rcv_saddr"),
		store(asm.R1, unsafe.Offsetof(record{}.local), asm.Word),
		k.Load(asm.R1, tcpSock, "sock", "__sk_common.skc_daddr"),
		store(asm.R1, unsafe.Offsetof(record{}.remote), asm.Word),
		asm.Ja.Label("addressed"),
	}
	local, remote := asm.Instructions{}, asm.Instructions{}
	for half := int16(0); half < 16; half += 8 {
		local = append(local,
			asm.LoadMem(asm.R1, tcpSock, k.Offset("sock", "__sk_common.skc_v6_rcv_saddr")+half, asm.DWord),
			store(asm.R1, unsafe.Offsetof(record{}.local)+uintptr(half), asm.DWord))
		remote = append(remote,
			asm.LoadMem(asm.R1, tcpSock, k.Offset("sock", "__sk_common.skc_v6_daddr")+half, asm.DWord),
			store(asm.R1, unsafe.Offsetof(record{}.remote)+uintptr(half), asm.DWord))
	}
	local[0] = local[0].WithSymbol("internet6")
	p = append(append(p, local...), remote...)
	return append(p, asm.Mov.Imm(asm.R1, 0).WithSymbol("addressed"))
}

// optionInstructions fills in an option. Network holds the network namespace.
func optionInstructions(k *kernelfields.Finder, i int) asm.Instructions {
	key := policy.Options[i].Key
	in := kernelOptions[key]
	if in.sysctl == "" && !k.Has("tcp_sock", in.field) && policy.Options[i].Since != "" {
		return nil // the zero means the same as in policy.Get
	}
	p := asm.Instructions{k.Load(asm.R1, tcpSock, "tcp_sock", in.field)}
	done := "option_" + key
	if in.sysctl != "" {
		p = append(p, asm.JNE.Imm(asm.R1, 0, done), k.Load(asm.R1, network, "net", in.sysctl))
	}
	offset := unsafe.Offsetof(record{}.options) + uintptr(i)*unsafe.Sizeof(record{}.options[0])
	return append(p, store(asm.R1, offset, asm.Word).WithSymbol(done))
}
