package cgrouppolicy

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
)

// A connection that was there before, or whose rule is another one now, is set by a
// setsockopt of this process that no kernel has. The program takes it for an order,
// so that it stores the rule and sets it while the socket is locked, and whatever the
// program that has the socket does meanwhile comes before or after.
const (
	orderLevel = 0x6b61 // of no protocol: the kernel returns ENOPROTOOPT
	orderName  = 0x6c76

	orderKey   = 0 // that of the table
	orderFlags = 8
	orderRule  = 12
	orderSize  = orderRule + int32(ruleWords*word)
)

// Flags of an order.
const (
	orderProbing = 1 << iota // a probe is out
	orderForget              // no rule is for the connection any more
	orderAny                 // what tells an order from an option that a program sets
	orderRearm               // the timer, noted by the program itself
)

// keepChosen is the program that has setsockopt follow the rule that a socket
// stores. A socket without one is left alone.
func keepChosen(m *maps) *ebpf.ProgramSpec {
	const numberReg, flagsReg = asm.R8, asm.R9 // of the option that is set, and of an order
	p := asm.Instructions{asm.Mov.Reg(ctxReg, asm.R1)}
	p = append(p, ifTCP(false)...)
	p = append(p, asm.JEq.Imm(asm.R4, orderLevel, "order"))
	p = append(p, dispatch(numbered(), numberReg, "option", func(i int) int32 { return int32(i) })...)
	p = append(p, leaveAlone(ctxReg)...)

	p = append(p, asm.Mov.Imm(flagsReg, 0).WithSymbol("option"))
	p = append(p, toContext(asm.R2)...)
	p = append(p, m.stored(asm.R2, false)...)
	p = append(p,
		asm.JEq.Imm(asm.R0, 0, "leave"),
		asm.Mov.Reg(storedReg, asm.R0),
		asm.LoadMem(asm.R2, ctxReg, sockoptVal, asm.DWord),
		asm.LoadMem(asm.R5, ctxReg, sockoptValEnd, asm.DWord),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, sizeofInt),
		asm.JGT.Reg(asm.R4, asm.R5, "leave"),
		asm.LoadMem(asm.R1, asm.R2, 0, asm.Word),
	)
	p = append(p, want(numberReg)...)
	p = append(p, asm.Ja.Label("combine"))
	p = append(p, m.obey(numberReg, flagsReg)...)

	p = append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol("combine"))
	p = append(p, combine()...)
	p = append(p, change(numberReg, flagsReg)...)
	p = append(p, asm.JSet.Imm(flagsReg, orderAny, "obeyed"))
	p = append(p, loadHeld(flagsReg, numberReg)...)
	p = append(p, replaceBy(ctxReg, flagsReg)...)
	p = append(p, asm.Ja.Label("exit"))
	p = append(p, m.forgetIfOrdered(flagsReg)...)
	p = append(p,
		asm.Mov.Imm(asm.R3, -1).WithSymbol("swallow"),
		asm.StoreMem(ctxReg, sockoptLen, asm.R3, asm.Word),
	)
	spec := setsockoptProgram("keepalive_keep", p)
	spec.License = "GPL"
	return spec
}

// toContext loads the socket into a register.
func toContext(to asm.Register) asm.Instructions {
	return asm.Instructions{asm.LoadMem(to, ctxReg, sockoptSk, asm.DWord)}
}

func ofContext() asm.Instructions { return toContext(asm.R1) }

// change sets the options that change. With a probe out, as an order says, keepalive
// is off meanwhile, so that no other probe is sent; and else Idle is written last,
// which arms the timer anew: see Change in internal/policy.
func change(numberReg, flagsReg asm.Register) (p asm.Instructions) {
	idle, interval := numberOf("idle"), numberOf("interval")
	p = append(p, asm.JSet.Imm(flagsReg, orderAny, "rearms"), asm.Ja.Label("change"))
	for i, number := range []int{idle, interval, keepAlive} {
		load := asm.LoadMem(asm.R1, asm.RFP, newValue(number), asm.Word)
		if i == 0 {
			load = load.WithSymbol("rearms")
		}
		p = append(p, load,
			asm.LoadMem(asm.R2, storedReg, heldValue(number), asm.Word),
			asm.JNE.Reg(asm.R1, asm.R2, "rearm"),
		)
	}
	p = append(p,
		asm.Ja.Label("change"),
		asm.LoadMem(asm.R1, asm.RFP, newValue(keepAlive), asm.Word).WithSymbol("rearm"),
		asm.JEq.Imm(asm.R1, 0, "change"),
		asm.Or.Imm(flagsReg, orderRearm),
		asm.JSet.Imm(flagsReg, orderProbing, "pause"),
		asm.Ja.Label("change"),
		asm.Mov.Imm(asm.R1, 0).WithSymbol("pause"),
		asm.StoreMem(storedReg, heldValue(keepAlive), asm.R1, asm.Word),
	)
	p = append(p, setHeld(ofContext, keepAlive)...)
	p = append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol("change"))
	for _, i := range writeOrder {
		p = append(p, setIfChanged(ofContext, i, numberReg)...)
	}
	p = append(p,
		asm.JSet.Imm(flagsReg, orderProbing, "changed"),
		asm.JSet.Imm(flagsReg, orderRearm, "write_idle"),
		asm.Ja.Label("changed"),
	)
	write := setHeld(ofContext, idle)
	write[0] = write[0].WithSymbol("write_idle")
	p = append(p, write...)
	return append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol("changed"))
}

// want stores a value in R1 as what the program wants of an option. What no socket
// accepts is left to the kernel, unless the rule sets something else whatever the
// program says.
func want(number asm.Register) asm.Instructions {
	var p asm.Instructions
	for i := range fields {
		this, next := fmt.Sprint("want_", i), fmt.Sprint("want_", i+1)
		p = append(p, asm.JNE.Imm(number, int32(i), next).WithSymbol(this))
		if i == keepAlive {
			p = append(p,
				asm.JEq.Imm(asm.R1, 0, "off"),
				asm.Mov.Imm(asm.R1, 1),
				asm.StoreMem(storedReg, wantedValue(i), asm.R1, asm.Word).WithSymbol("off"),
				asm.Ja.Label("wanted"),
			)
			continue
		}
		least, most := accepted(i)
		nonsense := fmt.Sprint("nonsense_", i)
		p = append(p,
			asm.JLT.Imm(asm.R1, least, nonsense),
			asm.JGT.Imm(asm.R1, most, nonsense),
			asm.StoreMem(storedReg, wantedValue(i), asm.R1, asm.Word),
			asm.Ja.Label("wanted"),
			asm.LoadMem(asm.R2, storedReg, storedRule+ruleMode, asm.Word).WithSymbol(nonsense),
			asm.JNE.Imm(asm.R2, int32(rules.Set), "leave"),
			asm.LoadMem(asm.R2, storedReg, storedRule+ruleNamed, asm.Word),
			asm.JSet.Imm(asm.R2, 1<<i, "wanted"),
			asm.Ja.Label("leave"),
		)
	}
	return append(p,
		asm.Ja.Label("leave").WithSymbol(fmt.Sprint("want_", fields)),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("wanted"),
	)
}

// loadHeld loads what the socket is to hold of an option.
func loadHeld(to, number asm.Register) asm.Instructions {
	return asm.Instructions{
		asm.And.Imm(number, 7),
		asm.JGE.Imm(number, int32(fields), "leave"),
		asm.LSh.Imm(number, 2),
		asm.Mov.Reg(asm.R1, storedReg),
		asm.Add.Reg(asm.R1, number),
		asm.LoadMem(to, asm.R1, storedHeld, asm.Word),
	}
}

// obey stores the rule of an order, and goes on at swallow where there is nothing to
// set.
func (m *maps) obey(numberReg, flagsReg asm.Register) asm.Instructions {
	valueReg := numberReg // until the rule is stored
	p := asm.Instructions{
		asm.JNE.Imm(asm.R5, orderName, "leave").WithSymbol("order"),
		asm.LoadMem(valueReg, ctxReg, sockoptVal, asm.DWord),
		asm.LoadMem(asm.R2, ctxReg, sockoptValEnd, asm.DWord),
		asm.Mov.Reg(asm.R1, valueReg),
		asm.Add.Imm(asm.R1, orderSize),
		asm.JGT.Reg(asm.R1, asm.R2, "leave"),
	}
	p = append(p, m.lookUpTable("leave")...)
	for at := int16(0); at < 8; at += word {
		p = append(p,
			asm.LoadMem(asm.R1, asm.R0, tableKey+at, asm.Word),
			asm.LoadMem(asm.R2, valueReg, orderKey+at, asm.Word),
			asm.JNE.Reg(asm.R1, asm.R2, "leave"),
		)
	}
	p = append(p, asm.LoadMem(flagsReg, valueReg, orderFlags, asm.Word))
	p = append(p, toContext(asm.R2)...)
	p = append(p, m.stored(asm.R2, false)...)
	p = append(p,
		asm.Mov.Reg(storedReg, asm.R0),
		asm.JNE.Imm(storedReg, 0, "has"),
		asm.JSet.Imm(flagsReg, orderForget, "swallow"),
	)
	p = append(p, toContext(asm.R2)...)
	p = append(p, m.stored(asm.R2, true)...)
	p = append(p, asm.JEq.Imm(asm.R0, 0, "leave"), asm.Mov.Reg(storedReg, asm.R0))
	p = append(p, readHeld(ofContext)...)
	p = append(p, wantHeld()...)
	p = append(p, asm.Ja.Label("take"))
	read := readHeld(ofContext)
	read[0] = read[0].WithSymbol("has")
	p = append(p, read...)
	p = append(p,
		asm.JSet.Imm(flagsReg, orderForget, "forget").WithSymbol("take"),
	)
	p = append(p, copyWords(storedReg, storedRule, valueReg, orderRule, ruleWords)...)
	return append(p,
		asm.Mov.Imm(numberReg, none),
		asm.Ja.Label("combine"),
		asm.Mov.Imm(asm.R1, int32(rules.Set)).WithSymbol("forget"),
		asm.StoreMem(storedReg, storedRule+ruleMode, asm.R1, asm.Word),
		asm.StoreMem(storedReg, storedRule+ruleNamed, asm.R1, asm.Word),
		asm.Mov.Imm(numberReg, none),
	)
}

// forgetIfOrdered removes what a socket stores.
func (m *maps) forgetIfOrdered(flagsReg asm.Register) asm.Instructions {
	p := asm.Instructions{
		asm.JSet.Imm(flagsReg, orderForget, "delete").WithSymbol("obeyed"),
		asm.Ja.Label("swallow"),
		asm.LoadMapPtr(asm.R1, m.sockets.FD()).WithSymbol("delete"),
	}
	p = append(p, toContext(asm.R2)...)
	return append(p, asm.FnSkStorageDelete.Call())
}
