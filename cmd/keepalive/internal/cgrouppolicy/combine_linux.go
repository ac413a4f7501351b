package cgrouppolicy

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
)

// combine computes what a socket is to hold of the rule and of what its program
// wants, as [rules.Mode.Of] does, and leaves it on the stack.
func combine() asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R2, storedReg, storedRule+ruleNamed, asm.Word),
	}
	for i := range fields {
		next := fmt.Sprint("value_", i)
		p = append(p,
			asm.LoadMem(asm.R1, storedReg, storedRule+ruleValues+int16(i)*word, asm.Word),
			asm.JSet.Imm(asm.R2, 1<<i, next),
			asm.LoadMem(asm.R1, storedReg, wantedValue(i), asm.Word),
			asm.StoreMem(asm.RFP, newValue(i), asm.R1, asm.Word).WithSymbol(next),
		)
	}
	p = append(p,
		asm.LoadMem(asm.R1, storedReg, storedRule+ruleMode, asm.Word),
		asm.JNE.Imm(asm.R1, int32(rules.Tighten), "combined"),
	)
	p = append(p, tightenUserTimeout(numberOf("user_timeout"))...)
	p = append(p, smaller(numberOf("max_rto"))...)
	p = append(p,
		asm.LoadMem(asm.R1, storedReg, wantedValue(keepAlive), asm.Word),
		asm.JEq.Imm(asm.R1, 0, "combined"), // it takes the policy
	)
	p = append(p, tightenTiming(numberOf("idle"), numberOf("interval"), numberOf("count"))...)
	return append(p, asm.Mov.Imm(asm.R0, 0).WithSymbol("combined"))
}

func newValue(number int) int16 { return newValues + int16(number)*word }

func wantedValue(number int) int16 { return storedWanted + int16(number)*word }

// smaller takes what the program wants where that is smaller than the policy's. Zero
// is no value, as a sysctl can have it, and not smaller.
func smaller(number int) asm.Instructions {
	label := smallerLabel(number)
	return asm.Instructions{
		asm.LoadMem(asm.R1, storedReg, wantedValue(number), asm.Word),
		asm.LoadMem(asm.R2, asm.RFP, newValue(number), asm.Word),
		asm.Sub.Imm32(asm.R1, 1),
		asm.Sub.Imm32(asm.R2, 1),
		asm.JGE.Reg(asm.R1, asm.R2, label),
		asm.Add.Imm32(asm.R1, 1),
		asm.StoreMem(asm.RFP, newValue(number), asm.R1, asm.Word),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(label),
	}
}

// smallerLabel is where smaller ends.
func smallerLabel(number int) string { return fmt.Sprint("smaller_", number) }

// tightenUserTimeout lowers one that the program has, and adds none.
func tightenUserTimeout(number int) asm.Instructions {
	return append(asm.Instructions{
		asm.LoadMem(asm.R1, storedReg, wantedValue(number), asm.Word),
		asm.JNE.Imm(asm.R1, 0, "has_user_timeout"),
		asm.StoreMem(asm.RFP, newValue(number), asm.R1, asm.Word),
		asm.Ja.Label(smallerLabel(number)),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("has_user_timeout"),
	}, smaller(number)...)
}

// tightenTiming computes Count from the shorter detection time.
func tightenTiming(idle, interval, count int) asm.Instructions {
	detection := func(to asm.Register, base asm.Register, value func(int) int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(to, base, value(interval), asm.Word),
			asm.LoadMem(asm.R1, base, value(count), asm.Word),
			asm.Mul.Reg(to, asm.R1),
			asm.LoadMem(asm.R1, base, value(idle), asm.Word),
			asm.Add.Reg(to, asm.R1),
		}
	}
	const shorter, other = asm.R4, asm.R5
	p := detection(shorter, asm.RFP, newValue)
	p = append(p, detection(other, storedReg, wantedValue)...)
	p = append(p,
		asm.JLE.Reg(shorter, other, "shorter"),
		asm.Mov.Reg(shorter, other),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("shorter"),
	)
	p = append(p, smaller(idle)...)
	p = append(p, smaller(interval)...)
	_, most := accepted(count)
	return append(p,
		asm.LoadMem(asm.R1, asm.RFP, newValue(idle), asm.Word),
		asm.LoadMem(asm.R2, asm.RFP, newValue(interval), asm.Word),
		asm.JGE.Reg(shorter, asm.R1, "has_room"), // or else a sysctl is zero
		asm.Mov.Reg(shorter, asm.R1),
		asm.Sub.Reg(shorter, asm.R1).WithSymbol("has_room"),
		asm.Div.Reg(shorter, asm.R2), // zero where R2 is
		asm.JLE.Imm(shorter, most, "at_most"),
		asm.Mov.Imm(shorter, most),
		asm.JNE.Imm(shorter, 0, "at_least").WithSymbol("at_most"),
		asm.Mov.Imm(shorter, 1),
		asm.StoreMem(asm.RFP, newValue(count), shorter, asm.Word).WithSymbol("at_least"),
	)
}
