package seccomppolicy

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// seccompData is struct seccomp_data of a little-endian machine.
func seccompData(arch, nr uint32, args ...uint64) []byte {
	data := binary.LittleEndian.AppendUint32(nil, nr)
	data = binary.LittleEndian.AppendUint32(data, arch)
	data = binary.LittleEndian.AppendUint64(data, 0) // the instruction pointer
	for i := range 6 {
		var arg uint64
		if i < len(args) {
			arg = args[i]
		}
		data = binary.LittleEndian.AppendUint64(data, arg)
	}
	return data
}

// interpret returns what a filter decides about a call.
func interpret(t testing.TB, filter []unix.SockFilter, data []byte) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; ; pc++ {
		require.Less(t, pc, len(filter), "it runs past its end")
		i := filter[pc]
		taken := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = a == i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = a >= i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			taken = a > i.K
		default:
			require.Fail(t, "unknown instruction", "%+v", i)
		}
		if taken {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
}

// The numbers are those of the kernel.
func TestNative(t *testing.T) {
	t.Parallel()
	if native == nil {
		return
	}
	assert.Equal(t, []uint32{
		unix.SYS_SOCKET, unix.SYS_SETSOCKOPT, unix.SYS_CONNECT, unix.SYS_LISTEN, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG,
	}, []uint32{
		native.socket, native.setsockopt, native.connect, native.listen, native.sendto, native.sendmsg, native.sendmmsg,
	})
}

// eachABI has a check look at the filters of both architectures, with a policy that names idle and max_rto.
func eachABI(t *testing.T, p Policy, check func(t *testing.T, a *abi, decide func(arch, nr uint32, args ...uint64) uint32)) {
	p.config = policy.Config{Idle: time.Minute, MaxRTO: 2 * time.Second}
	for name, a := range abis {
		t.Run(name, func(t *testing.T) {
			filter := compile(a.rules(&p))
			require.LessOrEqual(t, len(filter), 4096) // BPF_MAXINSNS
			check(t, a, func(arch, nr uint32, args ...uint64) uint32 {
				return interpret(t, filter, seccompData(arch, nr, args...))
			})
		})
	}
}

const (
	allow   = unix.SECCOMP_RET_ALLOW
	notify  = unix.SECCOMP_RET_USER_NOTIF
	success = unix.SECCOMP_RET_ERRNO
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)
)

func TestFilterSocket(t *testing.T) {
	t.Parallel()
	const garbage = 0xdead << 32 // in the upper half, which the kernel does not read
	for _, mptcp := range []bool{false, true} {
		for _, older := range []bool{false, true} {
			tcp, multi := uint32(notify), uint32(refuse)
			if older {
				tcp = allow
			}
			if mptcp {
				multi = tcp
			}
			t.Run(fmt.Sprintf("mptcp=%v,older=%v", mptcp, older), func(t *testing.T) {
				t.Parallel()
				eachABI(t, Policy{mptcp: mptcp, older: older}, func(t *testing.T, a *abi, decide func(arch, nr uint32, args ...uint64) uint32) {
					for _, tt := range []struct {
						domain, typ, protocol uint64
						want                  uint32
					}{
						{unix.AF_INET, unix.SOCK_STREAM, 0, tcp},
						{unix.AF_INET6, unix.SOCK_STREAM, 0, tcp},
						{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP, tcp},
						{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, 0, tcp},
						{garbage | unix.AF_INET, garbage | unix.SOCK_STREAM, garbage, tcp},
						{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, multi},
						{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP, multi},
						{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP, allow},
						{unix.AF_INET, unix.SOCK_DGRAM, 0, allow},
						{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP, allow},
						{unix.AF_UNIX, unix.SOCK_STREAM, 0, allow},
						{unix.AF_NETLINK, unix.SOCK_RAW, 0, allow},
					} {
						assert.Equal(t, tt.want, decide(a.arch, a.socket, tt.domain, tt.typ, tt.protocol), "%+v", tt)
					}
				})
			})
		}
	}
}

func TestFilterSetsockopt(t *testing.T) {
	t.Parallel()
	const pointer = 0x7fff_0000_0000
	eachABI(t, Policy{}, func(t *testing.T, a *abi, decide func(arch, nr uint32, args ...uint64) uint32) {
		set := func(level, number, pointer, length uint64) uint32 {
			return decide(a.arch, a.setsockopt, 3, level, number, pointer, length)
		}
		for _, named := range [][2]uint64{{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS}} {
			for _, length := range []uint64{4, 5, 8, 4096, 1<<31 - 1, 0xdead<<32 | 4} {
				assert.EqualValues(t, success, set(named[0], named[1], pointer, length), "%v %d", named, length)
			}
			for _, length := range []uint64{0, 1, 3, 1 << 31, 1<<32 - 1} { // EINVAL
				assert.EqualValues(t, allow, set(named[0], named[1], pointer, length), "%v %d", named, length)
			}
			assert.EqualValues(t, allow, set(named[0], named[1], 0, 4), "EFAULT")
			assert.EqualValues(t, success, set(named[0], named[1], 1, 4))
		}
		for _, other := range [][2]uint64{{unix.SOL_SOCKET, unix.SO_LINGER}, {unix.IPPROTO_TCP, unix.TCP_NODELAY}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, {unix.IPPROTO_TCP, unix.SO_KEEPALIVE}, {unix.SOL_SOCKET, unix.TCP_KEEPIDLE}} {
			assert.EqualValues(t, allow, set(other[0], other[1], pointer, 4), other)
		}
	})
}

// A program of another ABI can't make a TCP socket unseen.
func TestFilterForeign(t *testing.T) {
	t.Parallel()
	for _, older := range []bool{false, true} {
		eachABI(t, Policy{older: older, mptcp: true}, func(t *testing.T, a *abi, decide func(arch, nr uint32, args ...uint64) uint32) {
			foreign := map[uint32][]uint32{unix.AUDIT_ARCH_ARM: {281}}
			if a.arch == unix.AUDIT_ARCH_X86_64 {
				foreign = map[uint32][]uint32{unix.AUDIT_ARCH_I386: {359}, unix.AUDIT_ARCH_X86_64: {0x40000000 | 41}}
				assert.EqualValues(t, notify, decide(unix.AUDIT_ARCH_I386, 102, 1), "socketcall SYS_SOCKET")
				assert.EqualValues(t, allow, decide(unix.AUDIT_ARCH_I386, 102, 3), "socketcall SYS_CONNECT")
			}
			for arch, numbers := range foreign {
				for _, nr := range numbers {
					for _, protocol := range []uint64{0, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP} {
						assert.EqualValues(t, notify, decide(arch, nr, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol))
					}
					assert.EqualValues(t, allow, decide(arch, nr, unix.AF_UNIX, unix.SOCK_STREAM))
				}
			}
		})
	}
}

// Before Linux 5.19 what connects a socket is stopped, and nothing else.
func TestFilterConnecting(t *testing.T) {
	t.Parallel()
	for older, want := range map[bool]uint32{true: notify, false: allow} {
		eachABI(t, Policy{older: older}, func(t *testing.T, a *abi, decide func(arch, nr uint32, args ...uint64) uint32) {
			for _, nr := range []uint32{a.connect, a.listen} {
				assert.Equal(t, want, decide(a.arch, nr, 3))
			}
			for nr, flags := range map[uint32]int{a.sendto: 3, a.sendmsg: 2, a.sendmmsg: 3} {
				args := make([]uint64, 6)
				assert.EqualValues(t, allow, decide(a.arch, nr, args...))
				args[flags] = unix.MSG_NOSIGNAL | unix.MSG_FASTOPEN
				assert.Equal(t, want, decide(a.arch, nr, args...))
			}
		})
	}
}

// The kernel finds out without running the filter that it allows another call
// whatever the arguments: seccomp_is_const_allow in kernel/seccomp.c. For that the
// filter reads nothing but the number and the architecture.
func TestFilterIsFastForOthers(t *testing.T) {
	t.Parallel()
	for _, older := range []bool{false, true} {
		eachABI(t, Policy{older: older}, func(t *testing.T, a *abi, decide func(arch, nr uint32, args ...uint64) uint32) {
			stopped := []uint32{a.socket, a.setsockopt}
			if older {
				stopped = append(stopped, a.connect, a.listen, a.sendto, a.sendmsg, a.sendmmsg)
			}
			filter := compile(a.rules(&Policy{older: older}))
			for nr := range uint32(500) {
				short := seccompData(a.arch, nr)[:dataArgs]
				if !slices.Contains(stopped, nr) {
					assert.NotPanics(t, func() { assert.EqualValues(t, allow, interpret(t, filter, short)) }, nr)
				}
			}
		})
	}
}
