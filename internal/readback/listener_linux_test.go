//go:build ignore

package keepalive_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestListenReturnsTCPListener(t *testing.T) {
	ln := listen(t, new(keepalive.ListenConfig), "tcp")
	if native {
		assert.IsType(t, new(net.TCPListener), ln)
	} else {
		assert.IsType(t, new(keepalive.Listener), ln)
	}
	_, accepted := pair(t, new(net.Dialer), ln)
	assert.IsType(t, new(net.TCPConn), accepted)
}

func TestListenIsPlainTCP(t *testing.T) {
	nlc := new(net.ListenConfig)
	nlc.SetMultipathTCP(true)
	ln := listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: possible(keepalive.Config{UserTimeout: time.Second})}, "tcp")
	_, accepted := pair(t, mptcpDialer(), ln)
	assert.Equal(t, unix.IPPROTO_TCP, sockopt(t, accepted, unix.SOL_SOCKET, unix.SO_PROTOCOL))
}

// A socket-activated service is handed its listener as a file. net then knows
// nothing of the ListenConfig that it was opened with.
func TestNewListenerOfFileListener(t *testing.T) {
	opened := plainListen(t, "tcp4")
	file, err := opened.(*net.TCPListener).File()
	require.NoError(t, err)
	inherited, err := net.FileListener(file)
	require.NoError(t, err)
	file.Close()
	defer inherited.Close()
	_, accepted := pair(t, new(net.Dialer), inherited)
	assert.Equal(t, options{true, 15, 15, 9, 0}, kernel(t, accepted))

	c := possible(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 4, UserTimeout: 75 * time.Second})
	ln, err := keepalive.NewListener(inherited, c)
	require.NoError(t, err)
	_, accepted = pair(t, new(net.Dialer), ln)
	assertHolds(t, c, accepted)
}

// What the listening socket holds by the time of Accept makes no difference.
func TestNewListenerOfAListenerThatChanges(t *testing.T) {
	inner := plainListen(t, "tcp4")
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	ln, err := keepalive.NewListener(inner, c)
	require.NoError(t, err)
	onFd(t, inner, func(fd int) {
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5000))
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	})
	_, accepted := pair(t, new(net.Dialer), ln)
	if native {
		assertHolds(t, c, accepted)
	}
}

func TestNewListenerOfMPTCP(t *testing.T) {
	mptcp := mptcpListen(t)
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	ln, err := keepalive.NewListener(mptcp, c)
	require.NoError(t, err)
	_, accepted := pair(t, mptcpDialer(), ln)
	assert.Equal(t, c, held(t, accepted))
	_, accepted = pair(t, new(net.Dialer), ln)
	assertHolds(t, c, accepted)

	c.UserTimeout = time.Second
	if refused(t, c) {
		return
	}
	_, err = keepalive.NewListener(mptcp, c)
	assert.ErrorContains(t, err, "keepalive: getsockopt TCP_USER_TIMEOUT: ")
	assert.ErrorIs(t, err, errors.ErrUnsupported)

	// A TLS listener hides its socket. Clients that come by MPTCP are turned
	// away, and keep nobody else from being served.
	hidden, err := keepalive.NewListener(tls.NewListener(mptcp, new(tls.Config)), c)
	require.NoError(t, err)
	for range 3 {
		turnedAway, err := mptcpDialer().Dial("tcp", mptcp.Addr().String())
		require.NoError(t, err)
		defer turnedAway.Close()
		served, err := net.Dial("tcp", mptcp.Addr().String())
		require.NoError(t, err)
		defer served.Close()
		conn, err := hidden.Accept()
		require.NoError(t, err)
		defer conn.Close()
		assert.Equal(t, served.LocalAddr(), conn.RemoteAddr())
		assertHolds(t, c, conn)
		assert.Equal(t, io.EOF, second(turnedAway.Read(make([]byte, 1))))
	}

	// Whatever its address says, what is TCP gets the policy or an error.
	inner := &namedListener{scripted{mptcp, nil}, nowhere("tcp+tls")}
	named, err := keepalive.NewListener(inner, c)
	require.NoError(t, err)
	for _, d := range []*net.Dialer{mptcpDialer(), new(net.Dialer)} {
		dialed, err := d.Dial("tcp", mptcp.Addr().String())
		require.NoError(t, err)
		defer dialed.Close()
		conn, err := mptcp.Accept()
		require.NoError(t, err)
		inner.conns = append(inner.conns, conn)
	}
	conn, err := named.Accept()
	require.NoError(t, err)
	assertHolds(t, c, conn)
}

// A connection that is reset between its handshake and Accept is no reason to
// end the accept loop.
func TestAcceptAfterReset(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (net.Listener, *net.Dialer){
		"tcp":   func(t *testing.T) (net.Listener, *net.Dialer) { return plainListen(t, "tcp4"), new(net.Dialer) },
		"mptcp": func(t *testing.T) (net.Listener, *net.Dialer) { return mptcpListen(t), mptcpDialer() },
	} {
		t.Run(name, func(t *testing.T) {
			inner, d := open(t)
			ln, err := keepalive.NewListener(inner, keepalive.Config{Idle: time.Minute})
			require.NoError(t, err)
			for range 20 {
				conn, err := d.Dial("tcp", ln.Addr().String())
				require.NoError(t, err)
				require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
				conn.Close()
			}
			last, err := d.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer last.Close()
			for {
				conn, err := ln.Accept()
				require.NoError(t, err)
				defer conn.Close()
				if conn.RemoteAddr().String() == last.LocalAddr().String() {
					break
				}
			}
		})
	}
}

// Connections inherit the UserTimeout of the listening socket, and net leaves it.
func TestNewListenerSettlesUserTimeout(t *testing.T) {
	given := keepalive.Config{UserTimeout: 5 * time.Second}
	if refused(t, given) {
		return
	}
	lc := &net.ListenConfig{Control: given.Control}
	lc.SetMultipathTCP(false)
	for _, want := range []time.Duration{0, given.UserTimeout, 7 * time.Second} {
		for name, inner := range map[string]net.Listener{
			"none":      plainListen(t, "tcp4"),
			"inherited": listen(t, lc, "tcp4"),
			"accepted":  settingListener{plainListen(t, "tcp4").(*net.TCPListener), given},
		} {
			ln, err := keepalive.NewListener(inner, keepalive.Config{UserTimeout: want})
			require.NoError(t, err)
			_, accepted := pair(t, new(net.Dialer), ln)
			assert.Equal(t, int(want.Milliseconds()), kernel(t, accepted).UserTimeout, "%s %v", name, want)
		}
	}
}

// settingListener tunes what it accepts, and shows the listening socket.
type settingListener struct {
	*net.TCPListener
	config keepalive.Config
}

func (l settingListener) Accept() (net.Conn, error) {
	conn, err := l.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	return conn, l.config.Apply(conn)
}
