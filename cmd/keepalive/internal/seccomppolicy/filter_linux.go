package seccomppolicy

import (
	"math"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// An abi holds the numbers of the system calls of a 64-bit architecture, and the
// other ABIs whose programs its kernel runs.
type abi struct {
	arch                      uint32 // AUDIT_ARCH_ of the kernel
	socket, setsockopt        uint32
	connect, listen           uint32
	sendto, sendmsg, sendmmsg uint32
	foreign                   []foreignABI
}

// A foreignABI has other numbers, or none.
type foreignABI struct {
	arch, socket, socketcall uint32
}

const x32Bit = 0x40000000 // __X32_SYSCALL_BIT

var abis = map[string]*abi{
	"amd64": {
		arch: unix.AUDIT_ARCH_X86_64, socket: 41, setsockopt: 54,
		connect: 42, listen: 50, sendto: 44, sendmsg: 46, sendmmsg: 307,
		foreign: []foreignABI{
			{arch: unix.AUDIT_ARCH_I386, socket: 359, socketcall: 102},
			{arch: unix.AUDIT_ARCH_X86_64, socket: x32Bit | 41},
		},
	},
	"arm64": {
		arch: unix.AUDIT_ARCH_AARCH64, socket: 198, setsockopt: 208,
		connect: 203, listen: 201, sendto: 206, sendmsg: 211, sendmmsg: 269,
		foreign: []foreignABI{{arch: unix.AUDIT_ARCH_ARM, socket: 281}},
	},
}

// native is nil on an architecture that is not supported.
var native = abis[runtime.GOARCH]

// Offsets in struct seccomp_data, see seccomp(2).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// A test compares a word of struct seccomp_data.
type test struct {
	offset uint32
	mask   uint32   // 0 for every bit
	oneOf  []uint32 // nil for the range
	min    uint32
	max    uint32
}

// A rule is the action for the calls that pass all tests.
type rule struct {
	tests  []test
	action uint32
}

func is(offset uint32, values ...uint32) test { return test{offset: offset, oneOf: values} }

// arg tests the lower half of an argument: the kernel takes these for an int.
func arg(n uint32, values ...uint32) test { return is(dataArgs+8*n, values...) }

func upperHalf(n uint32, values ...uint32) test { return is(dataArgs+8*n+4, values...) }

func masked(t test, mask uint32) test {
	t.mask = mask
	return t
}

const sockTypeMask = 0xf // SOCK_TYPE_MASK of include/linux/net.h

// stream are the arguments of a socket(2) that makes a TCP socket.
func stream(protocols ...uint32) []test {
	return []test{
		arg(0, unix.AF_INET, unix.AF_INET6),
		masked(arg(1, unix.SOCK_STREAM), sockTypeMask),
		arg(2, protocols...),
	}
}

// call are the tests for a system call.
func call(arch, nr uint32, tests ...test) []test {
	return append([]test{is(dataArch, arch), is(dataNr, nr)}, tests...)
}

// rules returns what the kernel is to do about system calls. The first rule that
// fits decides. A call that fits none is allowed.
func (a *abi) rules(p *Policy) []rule {
	var rules []rule
	for _, f := range a.foreign {
		rules = append(rules, rule{call(f.arch, f.socket, stream(0, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP)...), unix.SECCOMP_RET_USER_NOTIF})
		if f.socketcall != 0 {
			rules = append(rules, rule{call(f.arch, f.socketcall, arg(0, socketcallSocket)), unix.SECCOMP_RET_USER_NOTIF})
		}
	}
	if p.older {
		rules = append(rules, a.connecting()...)
	} else {
		rules = append(rules, rule{call(a.arch, a.socket, stream(0, unix.IPPROTO_TCP)...), unix.SECCOMP_RET_USER_NOTIF})
	}
	switch {
	case !p.mptcp:
		rules = append(rules, rule{call(a.arch, a.socket, stream(unix.IPPROTO_MPTCP)...), unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)})
	case !p.older:
		rules = append(rules, rule{call(a.arch, a.socket, stream(unix.IPPROTO_MPTCP)...), unix.SECCOMP_RET_USER_NOTIF})
	}
	return append(rules, a.swallow(p.options())...)
}

// socketcallSocket is SYS_SOCKET of include/uapi/linux/net.h.
const socketcallSocket = 1

// connecting notifies of the calls that connect a socket or have it listen.
func (a *abi) connecting() []rule {
	rules := []rule{
		{call(a.arch, a.connect), unix.SECCOMP_RET_USER_NOTIF},
		{call(a.arch, a.listen), unix.SECCOMP_RET_USER_NOTIF},
	}
	for _, send := range [][2]uint32{{a.sendto, 3}, {a.sendmsg, 2}, {a.sendmmsg, 3}} {
		fast := masked(arg(send[1], unix.MSG_FASTOPEN), unix.MSG_FASTOPEN)
		rules = append(rules, rule{call(a.arch, send[0], fast), unix.SECCOMP_RET_USER_NOTIF})
	}
	return rules
}

// swallow has setsockopt(2) of the options succeed without effect. What the
// kernel answers with an error for its length or its null pointer, it still does.
func (a *abi) swallow(options []sockopt.Option) []rule {
	rules := []rule{{call(a.arch, a.setsockopt, arg(3, 0), upperHalf(3, 0)), unix.SECCOMP_RET_ALLOW}}
	const sizeofInt = 4
	anyLength := test{offset: dataArgs + 8*4, min: sizeofInt, max: math.MaxInt32}
	for _, o := range options {
		rules = append(rules, rule{
			call(a.arch, a.setsockopt, arg(1, uint32(o.Level)), arg(2, uint32(o.Number)), anyLength),
			unix.SECCOMP_RET_ERRNO, // 0: success
		})
	}
	return rules
}

// options returns those that the policy names, and SO_KEEPALIVE.
func (p *Policy) options() []sockopt.Option {
	options := []sockopt.Option{sockopt.KeepAlive}
	for i := range policy.Options {
		if o := &policy.Options[i]; o.Value(p.config) != 0 {
			options = append(options, o.Option)
		}
	}
	return options
}

// compile returns the rules as a program of classic BPF.
func compile(rules []rule) []unix.SockFilter {
	var program []unix.SockFilter
	for _, r := range rules {
		program = append(program, r.compile()...)
	}
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// next is a jump to the next rule.
const next = math.MaxUint8

func (r rule) compile() []unix.SockFilter {
	var program []unix.SockFilter
	for _, t := range r.tests {
		program = append(program, t.compile()...)
	}
	program = append(program, ret(r.action))
	for i := range program {
		rest := uint8(len(program) - i - 1)
		if program[i].Jt == next {
			program[i].Jt = rest
		}
		if program[i].Jf == next {
			program[i].Jf = rest
		}
	}
	return program
}

func (t test) compile() []unix.SockFilter {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: t.offset}}
	if t.mask != 0 {
		program = append(program, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: t.mask})
	}
	if t.oneOf == nil {
		return append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: t.min, Jf: next},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: t.max, Jt: next})
	}
	for i, value := range t.oneOf {
		others := uint8(len(t.oneOf) - i - 1)
		jump := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: others}
		if others == 0 {
			jump.Jf = next
		}
		program = append(program, jump)
	}
	return program
}
