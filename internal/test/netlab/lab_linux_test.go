package netlab

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var plain = &net.ListenConfig{KeepAlive: -1}

// connect returns both ends of a connection through the lab, neither of which
// sends probes, and the server's listener.
func connect(t *testing.T, l *Lab, network string) (client, server net.Conn, ln net.Listener) {
	t.Helper()
	ln = l.Server.Listen(t, plain, network, 0)
	dial := l.Client.Within((&net.Dialer{KeepAlive: -1}).DialContext)
	client, err := dial(t.Context(), network, ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	server, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return client, server, ln
}

// arrives reports whether a byte gets from one end to the other in time.
func arrives(t *testing.T, from, to net.Conn, timeout time.Duration) bool {
	t.Helper()
	_, err := from.Write([]byte("x"))
	require.NoError(t, err)
	to.SetReadDeadline(time.Now().Add(timeout))
	_, err = to.Read(make([]byte, 1))
	if err != nil {
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	return err == nil
}

func eachNetwork(t *testing.T, f func(t *testing.T, network string)) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f(t, network)
		})
	}
}

func TestLabForgetsIdleConnections(t *testing.T) {
	t.Parallel()
	l := NewLab(t, Rules{Established: 2 * time.Second})
	eachNetwork(t, func(t *testing.T, network string) {
		client, server, _ := connect(t, l, network)
		host, _, err := net.SplitHostPort(client.LocalAddr().String())
		require.NoError(t, err)
		assert.Contains(t, []string{l.Client.IPv4, l.Client.IPv6}, host)
		for range 4 {
			time.Sleep(time.Second) // shorter than the firewall's timeout
			require.True(t, arrives(t, client, server, time.Second))
			require.True(t, arrives(t, server, client, time.Second))
		}
		time.Sleep(3500 * time.Millisecond) // longer
		assert.False(t, arrives(t, client, server, time.Second))
	})
}

func TestLabMasquerade(t *testing.T) {
	t.Parallel()
	l := NewLab(t, Rules{Established: 2 * time.Second, Masquerade: true})
	eachNetwork(t, func(t *testing.T, network string) {
		client, server, _ := connect(t, l, network)
		host, _, err := net.SplitHostPort(server.RemoteAddr().String())
		require.NoError(t, err)
		assert.Contains(t, []string{"198.51.100.1", "2001:db8:2::1"}, host)
		require.True(t, arrives(t, client, server, 5*time.Second))
		time.Sleep(3500 * time.Millisecond)
		assert.False(t, arrives(t, client, server, time.Second))
	})
}

// Of a handshake the SYN or its answer gets lost in 36 of 100 cases.
func TestLabLoss(t *testing.T) {
	t.Parallel()
	l := NewLab(t, Rules{Loss: 0.2})
	eachNetwork(t, func(t *testing.T, network string) {
		ln := l.Server.Listen(t, plain, network, 0)
		dial := l.Client.Within((&net.Dialer{Timeout: 5 * time.Second}).DialContext)
		const dials = 100
		resent := make(chan bool, dials)
		for range dials {
			go func() {
				conn, err := dial(t.Context(), network, ln.Addr().String())
				if err != nil {
					resent <- true // again and again
					return
				}
				defer conn.Close()
				control(conn.(*net.TCPConn), func(fd int) error {
					info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
					resent <- err == nil && info.Total_retrans > 0
					return err
				})
			}()
		}
		n := 0
		for range dials {
			if <-resent {
				n++
			}
		}
		assert.InDelta(t, 36, n, 29)
	})
}

func TestLabForget(t *testing.T) {
	t.Parallel()
	NeedLab(t)
	for name, tt := range map[string]struct {
		unknown Answer
		want    error
	}{
		"drop":        {Drop, os.ErrDeadlineExceeded},
		"reset":       {Reset, syscall.ECONNRESET},
		"unreachable": {Unreachable, os.ErrDeadlineExceeded}, // a soft error, RFC 1122 section 4.2.3.9
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachNetwork(t, func(t *testing.T, network string) {
				l := NewLab(t, Rules{Unknown: tt.unknown})
				client, server, ln := connect(t, l, network)
				require.True(t, arrives(t, client, server, 5*time.Second))
				l.Forget(t)
				_, err := client.Write([]byte("x"))
				require.NoError(t, err)
				client.SetReadDeadline(time.Now().Add(time.Second))
				_, err = client.Read(make([]byte, 1))
				assert.ErrorIs(t, err, tt.want)

				conn, err := l.Client.Within(new(net.Dialer).DialContext)(t.Context(), network, ln.Addr().String())
				require.NoError(t, err, "new connections pass")
				conn.Close()
			})
		})
	}
}

func TestLabBlock(t *testing.T) {
	t.Parallel()
	NeedLab(t)
	eachNetwork(t, func(t *testing.T, network string) {
		l := NewLab(t, Rules{})
		client, server, _ := connect(t, l, network)
		for range 2 {
			l.Block(t)
			require.False(t, arrives(t, client, server, 300*time.Millisecond))
			l.Unblock(t)
			server.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err := server.Read(make([]byte, 1))
			require.NoError(t, err, "it is sent again")
		}
	})
}

func TestHostLink(t *testing.T) {
	t.Parallel()
	NeedLab(t)
	for name, host := range map[string]func(*Lab) *Host{
		"client":   func(l *Lab) *Host { return l.Client },
		"firewall": func(l *Lab) *Host { return l.Firewall },
		"server":   func(l *Lab) *Host { return l.Server },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachNetwork(t, func(t *testing.T, network string) {
				l := NewLab(t, Rules{})
				client, server, ln := connect(t, l, network)
				require.True(t, arrives(t, client, server, 5*time.Second))
				host(l).LinkDown(t)
				require.False(t, arrives(t, client, server, 300*time.Millisecond))
				host(l).LinkUp(t)
				server.SetReadDeadline(time.Now().Add(10 * time.Second))
				_, err := server.Read(make([]byte, 1))
				require.NoError(t, err, "it is sent again")

				conn, err := l.Client.Within(new(net.Dialer).DialContext)(t.Context(), network, ln.Addr().String())
				require.NoError(t, err)
				conn.Close()
			})
		})
	}
}

func TestHostReboot(t *testing.T) {
	t.Parallel()
	NeedLab(t)
	eachNetwork(t, func(t *testing.T, network string) {
		l := NewLab(t, Rules{})
		client, server, ln := connect(t, l, network)
		require.True(t, arrives(t, client, server, 5*time.Second))
		sleep := exec.Command("sleep", "1000")
		require.NoError(t, l.Server.Start(sleep))

		l.Server.Reboot(t)
		assert.Error(t, sleep.Wait(), "killed")
		client.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "no farewell")
		_, err = client.Write([]byte("x"))
		require.NoError(t, err)
		client.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)

		_, port, err := net.SplitHostPort(ln.Addr().String())
		require.NoError(t, err)
		number, err := strconv.Atoi(port)
		require.NoError(t, err)
		l.Server.Listen(t, plain, network, number) // the port is free again
		conn, err := l.Client.Within(new(net.Dialer).DialContext)(t.Context(), network, ln.Addr().String())
		require.NoError(t, err)
		conn.Close()
	})
}

func TestHostStart(t *testing.T) {
	t.Parallel()
	l := NewLab(t, Rules{})
	var inside string
	l.Server.Do(func() { inside = namespaceName(t) })
	assert.NotEqual(t, namespaceName(t), inside)

	var out strings.Builder
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	cmd.Stdout = &out
	require.NoError(t, l.Server.Start(cmd))
	require.NoError(t, cmd.Wait())
	assert.Equal(t, inside, strings.TrimSpace(out.String()))

	// A test that ends leaves no process behind.
	var left *exec.Cmd
	t.Run("ends", func(t *testing.T) {
		left = exec.Command("sleep", "1000")
		require.NoError(t, NewLab(t, Rules{}).Client.Start(left))
	})
	assert.Error(t, left.Wait())
	assert.ErrorIs(t, l.Client.Start(exec.Command(filepath.Join(t.TempDir(), "none"))), os.ErrNotExist)
}

// A test that is killed leaves no namespace behind.
func TestLabInterrupted(t *testing.T) {
	t.Parallel()
	const running = "KEEPALIVE_LAB_INTERRUPTED"
	if os.Getenv(running) != "" {
		l := NewLab(t, Rules{})
		require.NoError(t, l.Server.Start(exec.Command("sleep", "1000")))
		for _, h := range []*Host{l.Client, l.Firewall, l.Server} {
			h.Do(func() { fmt.Println(namespaceName(t)) })
		}
		select {}
	}
	NewLab(t, Rules{}) // skips where there is none
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestLabInterrupted$")
	cmd.Env = append(os.Environ(), running+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var names []string
	for lines := bufio.NewScanner(out); len(names) < 3; {
		require.True(t, lines.Scan(), "%v %v", names, lines.Err())
		names = append(names, lines.Text())
	}
	for _, name := range names {
		held := holders(t, name)
		require.NotEmpty(t, held, "of %s", name)
		// The kernel gives the number in a name to the next namespace, as soon
		// as it is free.
		namespace, err := os.Open(held[0])
		require.NoError(t, err)
		defer namespace.Close()
	}
	require.NoError(t, cmd.Process.Kill())
	assert.Error(t, cmd.Wait())
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, name := range names {
			assert.Empty(c, holders(t, name), "of %s", name)
		}
	}, 10*time.Second, 10*time.Millisecond)
}

// Debian leaves /usr/sbin out of the path of unprivileged users.
func TestLookPath(t *testing.T) {
	NewLab(t, Rules{}) // skips where the tools are missing
	t.Setenv("PATH", "/nonexistent")
	_, err := lookPath("nft")
	assert.NoError(t, err)
	_, err = lookPath("no-such-tool")
	assert.ErrorIs(t, err, exec.ErrNotFound)
}

// holders returns what keeps a namespace: threads, descriptors and mounts, but
// for the descriptors of this process.
func holders(t *testing.T, name string) (found []string) {
	t.Helper()
	own := fmt.Sprintf("/proc/%d/", os.Getpid())
	for _, pattern := range []string{"/proc/[0-9]*/task/*/ns/net", "/proc/[0-9]*/fd/*"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			target, err := os.Readlink(path)
			if err == nil && target == name && !strings.HasPrefix(path, own) {
				found = append(found, path)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	if strings.Contains(string(mounts), name) {
		found = append(found, "mount")
	}
	return found
}

// namespaceName returns the name of the thread's network namespace.
func namespaceName(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	return name
}
