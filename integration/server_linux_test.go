package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// heldByServer returns what the kernel holds for the server's end of a client's
// only connection, whether the server or a child of it serves that.
func heldByServer(t *testing.T, server *os.Process, client *dialer) keepalive.Config {
	t.Helper()
	client.mu.Lock()
	defer client.mu.Unlock()
	require.Len(t, client.conns, 1)
	address := client.conns[0].LocalAddr().(*net.TCPAddr).AddrPort()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", server.Pid))
	require.NoError(t, err)
	for _, pid := range append(strings.Fields(string(children)), strconv.Itoa(server.Pid)) {
		fds, err := os.ReadDir("/proc/" + pid + "/fd")
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		require.NoError(t, err)
		for _, entry := range fds {
			file := duplicate(t, pid, entry.Name())
			if file != nil && peerOf(file) == address {
				return held(t, socket{file: file})
			}
		}
	}
	t.Fatalf("the server has no connection to %v", address)
	return keepalive.Config{}
}

// duplicate returns a duplicate of a descriptor of another process, nil if it has
// closed that.
func duplicate(t *testing.T, pid, fd string) *os.File {
	t.Helper()
	p, err := strconv.Atoi(pid)
	require.NoError(t, err)
	n, err := strconv.Atoi(fd)
	require.NoError(t, err)
	pidfd, err := unix.PidfdOpen(p, 0)
	if errors.Is(err, unix.ENOSYS) {
		netlab.Skip(t, os.NewSyscallError("pidfd_open", err))
	}
	if err != nil {
		return nil
	}
	defer unix.Close(pidfd)
	n, err = unix.PidfdGetfd(pidfd, n, 0)
	if errors.Is(err, os.ErrPermission) {
		netlab.Skip(t, os.NewSyscallError("pidfd_getfd", err))
	}
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(n), fd)
	t.Cleanup(func() { file.Close() })
	return file
}

// socket is as much of a connection as Get needs.
type socket struct {
	net.Conn
	file *os.File
}

func (s socket) SyscallConn() (syscall.RawConn, error) { return s.file.SyscallConn() }

func peerOf(file *os.File) netip.AddrPort {
	address, err := unix.Getpeername(int(file.Fd()))
	if peer, ok := address.(*unix.SockaddrInet4); ok && err == nil {
		return netip.AddrPortFrom(netip.AddrFrom4(peer.Addr), uint16(peer.Port))
	}
	return netip.AddrPort{}
}

// startServer starts a server on the host, waits until it logs ready, and stops
// it with the signal when the test ends.
func startServer(t *testing.T, host *netlab.Host, cmd *exec.Cmd, ready string, stop syscall.Signal) {
	t.Helper()
	log := &serverLog{ready: []byte(ready), isReady: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 10 * time.Second
	if err := host.Start(cmd); err != nil {
		netlab.Skip(t, err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(stop)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
			t.Errorf("%s had to be killed:\n%s", cmd.Path, log)
		}
	})
	select {
	case <-log.isReady:
	case err := <-ended:
		t.Fatalf("%s ended, %v:\n%s", cmd.Path, err, log)
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready:\n%s", cmd.Path, log)
	}
}

// serverLog keeps what a server writes, and notices that it is ready.
type serverLog struct {
	ready   []byte
	isReady chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	seen bool
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.text.Write(p)
	if !l.seen && bytes.Contains(l.text.Bytes(), l.ready) {
		l.seen = true
		close(l.isReady)
	}
	return n, err
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
