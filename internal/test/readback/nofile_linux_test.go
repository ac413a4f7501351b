//go:build !keepalive_portable

package readback

import (
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// withoutDescriptors runs f while the process can open no file.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	lowered := limit
	for lowered.Cur = 0; ; lowered.Cur++ {
		if _, err := unix.FcntlInt(uintptr(lowered.Cur), unix.F_GETFD, 0); err != nil {
			break
		}
	}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lowered))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	f()
}

// Where the operator's values can't be found out, no other ones are set. The
// limit is that of the process, so a process of its own runs the test.
func TestDefaultsWithoutDescriptors(t *testing.T) {
	const child = "KEEPALIVE_WITHOUT_DESCRIPTORS"
	netlab.NeedNamespace(t)
	netlab.NeedExec(t)
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "--- PASS: "+t.Name(), "%s", out)
		return
	}
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "60")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "5")
	netlab.Sysctl(t, "tcp_keepalive_probes", "3")
	ln := tcptest.PlainListen(t, "tcp4")
	conn, _ := tcptest.Pair(t, &keepalive.Dialer{Config: tcptest.Quick}, ln)
	detection := func() time.Duration {
		d, ok := keepalive.Config{}.DetectionTime()
		assert.True(t, ok)
		return d
	}
	withoutDescriptors(t, func() { assert.Equal(t, 7875*time.Second, detection(), "nothing was read so far") })
	assert.Equal(t, 75*time.Second, detection())
	var wrapped keepalive.DialFunc
	withoutDescriptors(t, func() {
		for name, err := range map[string]error{
			"Apply":       keepalive.Config{}.Apply(conn),
			"NewListener": tcptest.Err(keepalive.NewListener(ln, keepalive.Config{Idle: time.Minute, Interval: time.Second})),
		} {
			assert.ErrorIs(t, err, syscall.EMFILE, name)
			assert.Regexp(t, `^keepalive: the system default of TCP_KEEP(IDLE|CNT) is unknown: .*: set Config\.(Idle|Count)$`, err, name)
		}
		wrapped = keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)
		_, err := wrapped(t.Context(), "tcp4", ln.Addr().String())
		assert.ErrorContains(t, err, "is unknown")
		assert.Equal(t, 75*time.Second, detection(), "read before")
		assert.NoError(t, keepalive.Config{Disable: true}.Apply(conn), "it does not matter while keepalive is off")
		off := tcptest.Quick
		off.Disable = true
		tcptest.AssertOptions(t, off, conn, "which stay as they were")
		assert.ErrorIs(t, tcptest.Err(policy.OfNewSocket()), syscall.EMFILE)
		watched, err := new(keepalive.Watcher).Watch(conn)
		assert.ErrorIs(t, err, syscall.EMFILE)
		assert.Nil(t, watched)
		assert.NoError(t, tcptest.Quick.Apply(conn), "nothing is to be read")
	})
	tcptest.AssertOptions(t, tcptest.Quick, conn)
	later, _ := tcptest.Pair(t, tcptest.DialFunc(wrapped), ln)
	tcptest.AssertOptions(t, keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}, later)
}
