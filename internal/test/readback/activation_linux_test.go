//go:build !keepalive_portable

package readback

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// activatedEnv makes the test binary a service that has been handed its
// listener as descriptor 3, as systemd does (sd_listen_fds(3)).
const activatedEnv = "KEEPALIVE_ACTIVATED"

func init() {
	if os.Getenv(activatedEnv) != "" {
		if err := activated(); err != nil {
			fmt.Println(err)
		}
		os.Exit(0)
	}
}

// activated prints what its first two connections hold: the first as net leaves
// it, the second with what the listening socket was set to.
func activated() error {
	inherited, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	defer inherited.Close()
	set, err := keepalive.GetListener(inherited)
	if err != nil {
		return err
	}
	ln, err := keepalive.NewListener(inherited, set)
	if err != nil {
		return err
	}
	for _, ln := range []net.Listener{inherited, ln} {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		held, err := keepalive.Get(conn)
		if err != nil {
			return err
		}
		fmt.Println(held)
	}
	return nil
}

func TestGetListenerOfAnInheritedListener(t *testing.T) {
	t.Parallel()
	netlab.NeedExec(t)
	set := keepalive.Config{Idle: 30 * time.Second, Interval: 7 * time.Second, Count: 4, UserTimeout: 51 * time.Second}
	for _, c := range []keepalive.Config{set, {Disable: true, Idle: set.Idle, Interval: set.Interval, Count: set.Count}} {
		lc := &net.ListenConfig{Control: c.Control}
		lc.SetMultipathTCP(false)
		ln := tcptest.Listen(t, lc, "tcp4")
		file, err := ln.(*net.TCPListener).File()
		require.NoError(t, err)
		defer file.Close()
		service := exec.Command("/proc/self/exe")
		service.Env = append(os.Environ(), activatedEnv+"=1")
		service.ExtraFiles = []*os.File{file}
		out, err := service.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, service.Start())
		for range 2 {
			conn, err := net.Dial("tcp4", ln.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
		}
		said, err := io.ReadAll(out)
		require.NoError(t, err)
		require.NoError(t, service.Wait())
		byNet := keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9, UserTimeout: c.UserTimeout}
		assert.Equal(t, fmt.Sprintln(byNet)+fmt.Sprintln(c), string(said))
	}
}
