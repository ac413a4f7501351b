package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A program that systemd-socket-activate starts, with a socket that holds what
// KeepAliveTimeSec= and its like would have set.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{}) // the program may take longer to start than a firewall remembers
	unit := keepalive.Config{Idle: 30 * time.Second, Interval: 7 * time.Second, Count: 4, UserTimeout: 51 * time.Second}
	for name, want := range map[string]keepalive.Config{
		"net.FileListener": {Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9, UserTimeout: unit.UserTimeout},
		"NewListener":      unit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got struct{ Listener, Conn keepalive.Config }
			require.NoError(t, json.Unmarshal(activate(t, lab, unit, name), &got))
			assert.Equal(t, unit, got.Listener)
			assert.Equal(t, want, got.Conn)
		})
	}
}

const activatedProgram = "KEEPALIVE_ACTIVATED"

// activated accepts one connection, tells its client what the kernel holds for
// the listener and for the connection, and ends.
func activated() {
	if err := tellHeld(os.Getenv(activatedProgram)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tellHeld(how string) error {
	listen := clients.Activated
	if how == "net.FileListener" {
		listen = func() (net.Listener, error) { return net.FileListener(os.NewFile(3, "socket")) }
	}
	ln, err := listen()
	if err != nil {
		return err
	}
	var held struct{ Listener, Conn keepalive.Config }
	if held.Listener, err = keepalive.GetListener(ln); err != nil {
		return err
	}
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if held.Conn, err = keepalive.Get(conn); err != nil {
		return err
	}
	return json.NewEncoder(conn).Encode(held)
}

// activate has systemd-socket-activate listen, sets the policy on its socket,
// connects, and returns what the program says.
func activate(t *testing.T, lab *netlab.Lab, unit keepalive.Config, how string) []byte {
	t.Helper()
	port := map[string]int{"net.FileListener": 7001, "NewListener": 7002}[how]
	address := lab.Server.Address("tcp4", port)
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(netlab.LookPath(t, "systemd-socket-activate"), "--listen="+address,
		"--setenv="+activatedProgram+"="+how, program)
	startServer(t, lab.Server, cmd, "Listening on", unix.SIGTERM)
	setOptions(t, cmd.Process.Pid, unit)
	conn, err := plain(lab.Client).Dial("tcp4", address)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(conn)
	require.NoError(t, err)
	return b
}

// setOptions sets what systemd.socket(5) sets with KeepAlive=, KeepAliveTimeSec=,
// KeepAliveIntervalSec= and KeepAliveProbes=, and the user timeout, on descriptor
// 3 of a process.
func setOptions(t *testing.T, pid int, c keepalive.Config) {
	t.Helper()
	file := duplicate(t, strconv.Itoa(pid), "3")
	require.NotNil(t, file)
	fd := int(file.Fd())
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	for option, value := range map[int]int{
		unix.TCP_KEEPIDLE:     int(c.Idle.Seconds()),
		unix.TCP_KEEPINTVL:    int(c.Interval.Seconds()),
		unix.TCP_KEEPCNT:      c.Count,
		unix.TCP_USER_TIMEOUT: int(c.UserTimeout.Milliseconds()),
	} {
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value), strconv.Itoa(option))
	}
}
