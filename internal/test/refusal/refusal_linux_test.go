//go:build !keepalive_portable && (amd64 || arm64)

// Package refusal tests what happens where the system refuses an option, as a
// container's seccomp filter may.
package refusal

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refusing runs f on a thread whose calls of setsockopt or getsockopt (nr) fail
// with errno for an option.
func refusing(t *testing.T, nr uintptr, level, name int, errno syscall.Errno, f func()) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // struct seccomp_data: nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 5, K: uint32(nr)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8}, // the second argument
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: uint32(level)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 16},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(name)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		err := os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		if err == nil {
			if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); e != 0 {
				err = os.NewSyscallError("seccomp", e)
			}
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		netlab.Skip(t, err)
	}
}

var options = map[string][2]int{
	"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	"TCP_KEEPINTVL":    {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	"TCP_KEEPCNT":      {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	"TCP_RTO_MAX_MS":   {unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS},
}

// An option that is refused is an error that names it, on every way to set it.
func TestEveryPathNamesTheRefusedOption(t *testing.T) {
	t.Parallel()
	policy := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: time.Minute, MaxRTO: 2 * time.Second}
	c := policy.Supported()
	for name, option := range options {
		if name == "TCP_RTO_MAX_MS" && c.MaxRTO == 0 {
			continue
		}
		for _, errno := range []syscall.Errno{unix.EPERM, unix.ENOPROTOOPT} {
			t.Run(name+"/"+unix.ErrnoName(errno), func(t *testing.T) {
				t.Parallel()
				plain := tcptest.PlainListen(t, "tcp4")
				conn, _ := tcptest.Pair(t, new(net.Dialer), plain)
				tcptest.Dial(t, new(net.Dialer), plain) // for Accept
				before := tcptest.Options(t, conn)
				errs := make(map[string]error)
				address := plain.Addr().String()
				refusing(t, unix.SYS_SETSOCKOPT, option[0], option[1], errno, func() {
					errs["Dialer"] = tcptest.Err((&keepalive.Dialer{Config: c}).DialContext(t.Context(), "tcp4", address))
					nd, err := c.NetDialer(nil)
					assert.NoError(t, err)
					errs["NetDialer"] = tcptest.Err(nd.DialContext(t.Context(), "tcp4", address))
					errs["ListenConfig"] = tcptest.Err((&keepalive.ListenConfig{Config: c}).Listen(t.Context(), "tcp4", "127.0.0.1:0"))
					errs["WrapDial"] = tcptest.Err(c.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp4", address))
					errs["Apply"] = c.Apply(conn)
					wrapped, err := keepalive.NewListener(plain, c)
					assert.NoError(t, err)
					errs["Accept"] = tcptest.Err(wrapped.Accept())
				})
				for path, err := range errs {
					var refused *keepalive.OptionError
					require.ErrorAs(t, err, &refused, path)
					assert.Equal(t, name, refused.Option, path)
					assert.ErrorIs(t, err, errno, path)
					assert.Contains(t, err.Error(), "keepalive: setsockopt "+name+": ", path)
					lacks := name == "TCP_RTO_MAX_MS" && errno == unix.ENOPROTOOPT
					assert.Equal(t, lacks, strings.Contains(err.Error(), "Linux before 6.15 lacks it"), "%s: %v", path, err)
					assert.Equal(t, lacks, strings.Contains(err.Error(), "lacks"), "%s: %v", path, err)
				}
				if name == "TCP_RTO_MAX_MS" { // the first that is set, since a socket may lack it
					assert.Equal(t, before, tcptest.Options(t, conn))
				}
			})
		}
	}
}

// A zero UserTimeout turns off what a socket may have. Where the kernel lacks it,
// there is nothing to turn off, but a refusal is an error.
func TestUserTimeoutThatCannotBeTurnedOff(t *testing.T) {
	t.Parallel()
	option := options["TCP_USER_TIMEOUT"]
	for errno, want := range map[syscall.Errno]error{unix.ENOPROTOOPT: nil, unix.EPERM: unix.EPERM} {
		conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
		refusing(t, unix.SYS_SETSOCKOPT, option[0], option[1], errno, func() {
			assert.ErrorIs(t, tcptest.Quick.Apply(conn), want)
		})
	}
}

// What can't be read is an error that names the option.
func TestGetNamesTheRefusedOption(t *testing.T) {
	t.Parallel()
	for name, option := range options {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln := tcptest.PlainListen(t, "tcp4")
			conn, _ := tcptest.Pair(t, new(net.Dialer), ln)
			same := keepalive.Config{Idle: tcptest.NetDefault.Idle, Interval: time.Minute, Count: 3} // but for Interval
			var ofConn, ofListener, ofApply, ofNew error
			refusing(t, unix.SYS_GETSOCKOPT, option[0], option[1], unix.EPERM, func() {
				ofConn = tcptest.Err(keepalive.Get(conn))
				ofNew = tcptest.Err(policy.OfNewSocket())
				ofApply = same.Apply(conn)
				ofListener = tcptest.Err(keepalive.GetListener(ln))
			})
			errs := []error{ofConn, ofListener, ofNew}
			if name == "SO_KEEPALIVE" || name == "TCP_KEEPIDLE" || name == "TCP_KEEPINTVL" {
				errs = append(errs, ofApply)
			} else {
				assert.NoError(t, ofApply, "it is not read")
			}
			for _, err := range errs {
				var refused *keepalive.OptionError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, name, refused.Option)
				assert.ErrorIs(t, err, unix.EPERM)
			}
		})
	}
}

// Apply does without TCP_INFO, and Stat says that it can't.
func TestApplyWithoutTCPInfo(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	for _, c := range []keepalive.Config{
		tcptest.Quick,
		{Idle: time.Second, Interval: time.Minute, Count: 3},
		{Idle: time.Hour, Interval: time.Minute, Count: 3},
		{Disable: true, Idle: time.Hour, Interval: time.Minute, Count: 9},
		{Idle: time.Hour, Interval: time.Minute, Count: 9},
	} {
		refusing(t, unix.SYS_GETSOCKOPT, unix.IPPROTO_TCP, unix.TCP_INFO, unix.EPERM, func() {
			assert.NoError(t, c.Apply(conn))
			_, err := keepalive.Stat(conn)
			assert.ErrorIs(t, err, unix.EPERM)
			assert.ErrorContains(t, err, "keepalive: getsockopt TCP_INFO: ")
		})
		tcptest.AssertOptions(t, c, conn)
	}
}

// A kernel without TCP_RTO_MAX_MS answers ENOPROTOOPT, and a policy without MaxRTO
// works there.
func TestKernelWithoutMaxRTO(t *testing.T) {
	t.Parallel()
	ln := tcptest.PlainListen(t, "tcp4")
	conn, _ := tcptest.Pair(t, new(net.Dialer), ln)
	option := options["TCP_RTO_MAX_MS"]
	refusing(t, unix.SYS_GETSOCKOPT, option[0], option[1], unix.ENOPROTOOPT, func() {
		c, err := keepalive.Get(conn)
		assert.NoError(t, err)
		assert.Zero(t, c.MaxRTO)
		assert.NoError(t, c.Apply(conn))
		unacked, ok := keepalive.Config{}.UnackedTime()
		assert.True(t, ok)
		fixed, _ := keepalive.Config{MaxRTO: 2 * time.Minute}.UnackedTime() // TCP_RTO_MAX
		assert.Equal(t, fixed, unacked)
		_, err = keepalive.NewListener(ln, keepalive.Config{MaxRTO: time.Second})
		assert.EqualError(t, err, "keepalive: getsockopt TCP_RTO_MAX_MS: protocol not available: Linux before 6.15 lacks it")
	})
}

// Supported leaves out an option that the kernel lacks, and no other. It asks once, so
// a process of its own runs the test.
func TestSupportedWithoutMaxRTO(t *testing.T) {
	const child = "KEEPALIVE_WITHOUT_MAX_RTO"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s", out)
		if strings.Contains(string(out), "--- SKIP: ") {
			netlab.Skip(t, errors.New(string(out)))
		}
		assert.Contains(t, string(out), "--- PASS: "+t.Name(), "%s", out)
		return
	}
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: time.Minute, MaxRTO: 2 * time.Second}
	without := c
	without.MaxRTO = 0
	option := options["TCP_RTO_MAX_MS"]
	refusing(t, unix.SYS_GETSOCKOPT, option[0], option[1], unix.EPERM, func() {
		assert.Equal(t, c, c.Supported(), "nothing is known")
	})
	refusing(t, unix.SYS_GETSOCKOPT, option[0], option[1], unix.ENOPROTOOPT, func() {
		assert.Equal(t, without, without.Supported(), "nothing is asked")
		assert.Equal(t, without, c.Supported())
	})
	assert.Equal(t, without, c.Supported(), "as it was found out")
}
