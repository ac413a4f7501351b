package sockets

import (
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// isBlind reports whether the kernel runs no program of eBPF while some process is the
// current one, as those of sandboxes do with the process that manages the sandbox. An
// event in a softirq that has interrupted this process is then lost, and no count of
// the kernel says so.
var isBlind = sync.OnceValue(func() bool {
	blind, err := leavesOutInit()
	return err == nil && blind
})

// leavesOutInit counts the context switches away from process 1, until the kernel
// counts enough of them.
func leavesOutInit() (bool, error) {
	kernel, err := kernelfields.New()
	if err != nil {
		return false, err
	}
	defer kernel.Close()
	l := new(Losses)
	defer l.release()
	seen, err := l.newMap(ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return false, err
	}
	if err := l.attach(kernel, countSwitches(seen), "sched_switch"); err != nil {
		return false, err
	}
	const enough = 20
	first := switchesOfInit()
	for until := time.Now().Add(5 * time.Second); switchesOfInit() < first+enough; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			return false, nil
		}
	}
	var n uint64
	err = seen.Lookup(uint32(0), &n)
	return n == 0, err
}

func countSwitches(seen *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.JNE.Imm(asm.R0, 1, exitLabel),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, seen.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, exitLabel),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(exitLabel),
		asm.Return(),
	}
}

// switchesOfInit returns how often all threads of process 1 were switched away from.
func switchesOfInit() (n int) {
	threads, _ := numbersIn("/proc/1/task")
	for _, thread := range threads {
		status, _ := os.ReadFile("/proc/1/task/" + strconv.Itoa(thread) + "/status")
		for _, m := range regexp.MustCompile(`ctxt_switches:\s*(\d+)`).FindAllSubmatch(status, -1) {
			count, _ := strconv.Atoi(string(m[1]))
			n += count
		}
	}
	return n
}

func TestBlindness(t *testing.T) {
	t.Parallel()
	watchLosses(t, 4096, false) // or else it may not trace
	blind, err := leavesOutInit()
	require.NoError(t, err)
	t.Log("blind:", blind)
}
