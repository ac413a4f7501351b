package cgrouppolicy

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
)

// Offsets of struct bpf_sock_ops.
const (
	sockOpsFamily     = 20
	sockOpsRemoteIP4  = 24
	sockOpsLocalIP4   = 28
	sockOpsRemoteIP6  = 32
	sockOpsLocalIP6   = 48
	sockOpsRemotePort = 64 // in the byte order of the network
	sockOpsLocalPort  = 68 // in that of the machine
	sockOpsSk         = 184
)

// Registers of the programs with rules, which calls leave alone.
const (
	ctxReg    = asm.R6
	storedReg = asm.R7 // what the socket stores
)

// What programs keep on the stack, below the frame pointer. The first ones are what
// the function that matches a row reads.
const (
	connection = -128 // where that begins

	connTable  = 0
	connRows   = 8 // of the group
	connRemote = 16
	connLocal  = 32
	connPorts  = 48 // remote, then local
	connFamily = 56
	connFound  = 60

	newValues = connection + 64 // what the socket is to hold
	mapKey    = -24             // of a groupKey
	scratch   = -8
)

// none is the number of a row, or of an option, that is none.
const none = -1

// applyName is by what bpftool(8) shows the program that chooses rules.
const applyName = "keepalive_apply"

// chooseAndSet is the program that chooses a rule for each connection once it is
// established, stores it and sets what it says.
func chooseAndSet(k *kernelfields.Finder, m *maps) *ebpf.ProgramSpec {
	const sockReg, rowReg = asm.R8, asm.R9
	p := asm.Instructions{
		asm.LoadMem(sockReg, ctxReg, sockOpsSk, asm.DWord),
		asm.JEq.Imm(sockReg, 0, "exit"),
		asm.Mov.Reg(asm.R1, sockReg),
		asm.FnSkcToMptcpSock.Call(), // a subflow
		asm.JNE.Imm(asm.R0, 0, "exit"),
	}
	p = append(p, groupOf(k, sockReg)...)
	p = append(p, m.lookUpTable("exit")...)
	p = append(p,
		asm.StoreMem(asm.RFP, connection+connTable, asm.R0, asm.DWord),
		asm.Mov.Reg(rowReg, asm.R0),
	)
	p = append(p, m.lookUpGroup()...)
	p = append(p,
		asm.Add.Imm(asm.R0, memberRows),
		asm.StoreMem(asm.RFP, connection+connRows, asm.R0, asm.DWord),
	)
	p = append(p, storeAddresses()...)
	p = append(p,
		asm.StoreImm(asm.RFP, connection+connFound, none, asm.Word),
		asm.LoadMem(asm.R1, rowReg, tableCount, asm.Word),
		asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R2, Src: asm.PseudoFunc, Constant: -1}.WithReference("match"),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, connection),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnLoop.Call(),
		asm.LoadMem(asm.R1, asm.RFP, connection+connFound, asm.Word),
		asm.JGE.Imm(asm.R1, MaxRows, "unmatched"),
		asm.Mul.Imm(asm.R1, int32(rowSize)),
		asm.Add.Reg(rowReg, asm.R1),
		asm.Add.Imm(rowReg, tableRows+rowRule),
	)
	ofSocket := func() asm.Instructions { return asm.Instructions{asm.Mov.Reg(asm.R1, ctxReg)} }
	p = append(p, m.storedOf(sockReg, ofSocket)...)
	p = append(p, copyWords(storedReg, storedRule, rowReg, 0, ruleWords)...)
	p = append(p, holdNone()...)
	p = append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol("combine"))
	p = append(p, combine()...)
	for _, i := range writeOrder {
		p = append(p, setIfChanged(ofSocket, i)...)
	}
	p = append(p, m.forgetIfUnmatched(sockReg, ofSocket)...)
	spec := sockOps(applyName, onEstablished(p))
	spec.License = "GPL"
	spec.Instructions[0] = btf.WithFuncMetadata(spec.Instructions[0], function(applyName, "ctx"))
	spec.Instructions = append(spec.Instructions, matchRow()...)
	return spec
}

// storedOf loads what the socket stores. A socket that was connected before, and was
// disconnected by connect(2), has stored already what its program wants.
func (m *maps) storedOf(sock asm.Register, ofSocket func() asm.Instructions) asm.Instructions {
	p := m.stored(sock, false)
	p = append(p, asm.JNE.Imm(asm.R0, 0, "again"))
	p = append(p, m.stored(sock, true)...)
	p = append(p, asm.JEq.Imm(asm.R0, 0, "exit"), asm.Mov.Reg(storedReg, asm.R0))
	p = append(p, readHeld(ofSocket)...)
	p = append(p, wantHeld()...)
	p = append(p, asm.Ja.Label("stored"), asm.Mov.Reg(storedReg, asm.R0).WithSymbol("again"))
	p = append(p, readHeld(ofSocket)...)
	return append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol("stored"))
}

// forgetIfUnmatched has a socket that no rule is for, and that had one before it was
// disconnected, hold what its program wants.
func (m *maps) forgetIfUnmatched(sock asm.Register, ofSocket func() asm.Instructions) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R1, asm.RFP, connection+connFound, asm.Word),
		asm.JLT.Imm(asm.R1, MaxRows, "exit"),
		asm.LoadMapPtr(asm.R1, m.sockets.FD()),
		asm.Mov.Reg(asm.R2, sock),
		asm.FnSkStorageDelete.Call(),
		asm.Ja.Label("exit"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("unmatched"),
	}
	p = append(p, m.stored(sock, false)...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, "exit"),
		asm.Mov.Reg(storedReg, asm.R0),
		asm.Mov.Imm(asm.R1, int32(rules.Set)),
		asm.StoreMem(storedReg, storedRule+ruleMode, asm.R1, asm.Word),
		asm.StoreMem(storedReg, storedRule+ruleNamed, asm.R1, asm.Word),
	)
	p = append(p, readHeld(ofSocket)...)
	return append(p, asm.Ja.Label("combine"))
}

// function is the type of a function, which the kernel wants for one that it calls
// back.
func function(name string, arguments ...string) *btf.Func {
	proto := &btf.FuncProto{Return: &btf.Int{Name: "int", Size: word, Encoding: btf.Signed}}
	for _, a := range arguments {
		proto.Params = append(proto.Params, btf.FuncParam{Name: a, Type: &btf.Int{Name: "u64", Size: 8}})
	}
	return &btf.Func{Name: name, Type: proto, Linkage: btf.StaticFunc}
}

// groupOf stores the id of a socket's group as a key.
func groupOf(k *kernelfields.Finder, sock asm.Register) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, sock),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
		k.Load(asm.R1, asm.R0, "sock", "sk_cgrp_data.cgroup"),
		asm.JEq.Imm(asm.R1, 0, "exit"),
		k.Load(asm.R1, asm.R1, "cgroup", "kn"),
		k.Load(asm.R1, asm.R1, "kernfs_node", "id"),
		asm.StoreMem(asm.RFP, mapKey, asm.R1, asm.DWord),
	}
}

// storeAddresses stores those of the connection, as IPv6 has them.
func storeAddresses() asm.Instructions {
	var p asm.Instructions
	put := func(from, to int16) {
		p = append(p, asm.LoadMem(asm.R1, ctxReg, from, asm.Word), asm.StoreMem(asm.RFP, connection+to, asm.R1, asm.Word))
	}
	p = append(p,
		asm.LoadMem(asm.R1, ctxReg, sockOpsFamily, asm.Word),
		asm.JEq.Imm(asm.R1, unix.AF_INET6, "IPv6"),
	)
	for _, at := range []int16{connRemote, connLocal} {
		p = append(p,
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(asm.RFP, connection+at, asm.R1, asm.DWord),
			asm.StoreImm(asm.RFP, connection+at+8, 0, asm.Half),
			asm.StoreImm(asm.RFP, connection+at+10, -1, asm.Half),
		)
	}
	put(sockOpsRemoteIP4, connRemote+12)
	put(sockOpsLocalIP4, connLocal+12)
	p = append(p, asm.Ja.Label("ports"))
	six := len(p)
	for i := range int16(4) {
		put(sockOpsRemoteIP6+i*word, connRemote+i*word)
		put(sockOpsLocalIP6+i*word, connLocal+i*word)
	}
	p[six] = p[six].WithSymbol("IPv6")
	p = append(p, family()...)
	return append(p,
		asm.LoadMem(asm.R1, ctxReg, sockOpsRemotePort, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Word),
		asm.StoreMem(asm.RFP, connection+connPorts, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, ctxReg, sockOpsLocalPort, asm.Word),
		asm.StoreMem(asm.RFP, connection+connPorts+word, asm.R1, asm.Word),
	)
}

// family stores whether the connection is one of IPv4, as those are that have mapped
// addresses.
func family() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R3, unix.AF_INET6).WithSymbol("ports"),
		asm.LoadMem(asm.R1, asm.RFP, connection+connRemote, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "family"),
		asm.LoadMem(asm.R1, asm.RFP, connection+connRemote+8, asm.Half),
		asm.JNE.Imm(asm.R1, 0, "family"),
		asm.LoadMem(asm.R1, asm.RFP, connection+connRemote+10, asm.Half),
		asm.JNE.Imm(asm.R1, 0xffff, "family"),
		asm.Mov.Imm(asm.R3, unix.AF_INET),
		asm.StoreMem(asm.RFP, connection+connFamily, asm.R3, asm.Word).WithSymbol("family"),
	}
}

// matchRow is the function that the kernel calls for each row until it returns 1: for
// the one that the connection in R2 matches.
func matchRow() asm.Instructions {
	const index, conn, row = asm.R1, asm.R2, asm.R3
	p := asm.Instructions{
		btf.WithFuncMetadata(asm.Mov.Imm(asm.R0, 1).WithSymbol("match"), function("match", "index", "connection")),
		asm.JGE.Imm(index, MaxRows, "match_exit"),
		asm.Mov.Imm(asm.R0, 0),
		asm.LoadMem(asm.R4, conn, connRows, asm.DWord),
		asm.Mov.Reg(asm.R5, index),
		asm.RSh.Imm(asm.R5, 6),
		asm.LSh.Imm(asm.R5, 3),
		asm.Add.Reg(asm.R4, asm.R5),
		asm.LoadMem(asm.R4, asm.R4, 0, asm.DWord),
		asm.Mov.Reg(asm.R5, index),
		asm.And.Imm(asm.R5, 63),
		asm.RSh.Reg(asm.R4, asm.R5),
		asm.And.Imm(asm.R4, 1),
		asm.JEq.Imm(asm.R4, 0, "match_exit"),
		asm.LoadMem(row, conn, connTable, asm.DWord),
		asm.Mov.Reg(asm.R5, index),
		asm.Mul.Imm(asm.R5, int32(rowSize)),
		asm.Add.Reg(row, asm.R5),
		asm.Add.Imm(row, tableRows),
	}
	for _, half := range []struct{ at, network, mask int16 }{
		{connRemote + 8, rowRemote + 8, rowRemoteMask + 8}, // where most addresses differ
		{connRemote, rowRemote, rowRemoteMask},
		{connLocal + 8, rowLocal + 8, rowLocalMask + 8},
		{connLocal, rowLocal, rowLocalMask},
	} {
		p = append(p,
			asm.LoadMem(asm.R4, conn, half.at, asm.DWord),
			asm.LoadMem(asm.R5, row, half.mask, asm.DWord),
			asm.And.Reg(asm.R4, asm.R5),
			asm.LoadMem(asm.R5, row, half.network, asm.DWord),
			asm.JNE.Reg(asm.R4, asm.R5, "match_exit"),
		)
	}
	for wanted, at := range map[int16]int16{rowFamily: connFamily, rowRemotePort: connPorts, rowLocalPort: connPorts + word} {
		any := fmt.Sprint("any_", wanted)
		p = append(p,
			asm.LoadMem(asm.R4, row, wanted, asm.Word),
			asm.JEq.Imm(asm.R4, 0, any),
			asm.LoadMem(asm.R5, conn, at, asm.Word),
			asm.JNE.Reg(asm.R4, asm.R5, "match_exit"),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(any),
		)
	}
	return append(p,
		asm.StoreMem(conn, connFound, index, asm.Word),
		asm.Mov.Imm(asm.R0, 1),
		asm.Return().WithSymbol("match_exit"),
	)
}

// copyWords copies words from one register's memory to that of another.
func copyWords(to asm.Register, toOffset int16, from asm.Register, fromOffset int16, words int) (p asm.Instructions) {
	for at := int16(0); at < int16(words)*word; at += word {
		p = append(p, asm.LoadMem(asm.R1, from, fromOffset+at, asm.Word), asm.StoreMem(to, toOffset+at, asm.R1, asm.Word))
	}
	return p
}

// readHeld stores what the socket holds, zero for an option that the kernel lacks.
func readHeld(ofSocket func() asm.Instructions) (p asm.Instructions) {
	for i, o := range numbered() {
		p = append(p, asm.Mov.Imm(asm.R1, 0), asm.StoreMem(storedReg, heldValue(i), asm.R1, asm.Word))
		p = append(p, ofSocket()...)
		p = append(p, o.getTo(storedReg, heldValue(i))...)
	}
	return p
}

// wantHeld stores that as what the program wants.
func wantHeld() asm.Instructions {
	return copyWords(storedReg, storedWanted, storedReg, storedHeld, fields)
}

// holdNone stores that the socket does not hold what the rule names, so that it is
// written even if it is equal, and does not follow a sysctl.
func holdNone() asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R2, storedReg, storedRule+ruleNamed, asm.Word),
		asm.Mov.Imm(asm.R1, none),
	}
	for i := range fields {
		named, next := fmt.Sprint("named_", i), fmt.Sprint("unnamed_", i)
		p = append(p,
			asm.JSet.Imm(asm.R2, 1<<i, named),
			asm.Ja.Label(next),
			asm.StoreMem(storedReg, heldValue(i), asm.R1, asm.Word).WithSymbol(named),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(next),
		)
	}
	return p
}

func heldValue(number int) int16 { return storedHeld + int16(number)*word }

// writeOrder is the order in which options are written: those first that a socket
// may lack, and SO_KEEPALIVE last, so that it arms the timer with the policy.
var writeOrder = func() (numbers []int) {
	for i := keepAlive - 1; i >= 0; i-- {
		numbers = append(numbers, i)
	}
	return append(numbers, keepAlive)
}()

// setIfChanged sets an option to what the socket is to hold where it holds another
// value. An option whose number is in one of the registers is only noted: the kernel
// is about to set it.
func setIfChanged(ofSocket func() asm.Instructions, number int, skipped ...asm.Register) asm.Instructions {
	next := fmt.Sprint("set_", number)
	p := asm.Instructions{
		asm.LoadMem(asm.R1, asm.RFP, newValue(number), asm.Word),
		asm.LoadMem(asm.R2, storedReg, heldValue(number), asm.Word),
		asm.JEq.Reg(asm.R1, asm.R2, next),
		asm.StoreMem(storedReg, heldValue(number), asm.R1, asm.Word),
	}
	for _, r := range skipped {
		p = append(p, asm.JEq.Imm(r, int32(number), next))
	}
	p = append(p, setHeld(ofSocket, number)...)
	return append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol(next))
}

// setHeld sets the option to what is stored as held.
func setHeld(ofSocket func() asm.Instructions, number int) asm.Instructions {
	o := numbered()[number]
	return append(ofSocket(), o.setFrom(storedReg, heldValue(number))...)
}
