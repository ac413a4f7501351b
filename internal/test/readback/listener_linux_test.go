package readback

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestListenReturnsTCPListener(t *testing.T) {
	ln := tcptest.Listen(t, new(keepalive.ListenConfig), "tcp")
	if tcptest.Portable || netlab.GVisor.Here() {
		assert.IsType(t, new(keepalive.Listener), ln)
	} else {
		assert.IsType(t, new(net.TCPListener), ln)
	}
	_, accepted := tcptest.Pair(t, new(net.Dialer), ln)
	assert.IsType(t, new(net.TCPConn), accepted)
}

// A socket-activated service is handed its listener as a file. net then knows
// nothing of the ListenConfig that it was opened with.
func TestNewListenerOfFileListener(t *testing.T) {
	opened := tcptest.PlainListen(t, "tcp4")
	file, err := opened.(*net.TCPListener).File()
	require.NoError(t, err)
	inherited, err := net.FileListener(file)
	require.NoError(t, err)
	file.Close()
	defer inherited.Close()
	_, accepted := tcptest.Pair(t, new(net.Dialer), inherited)
	tcptest.AssertOptions(t, tcptest.NetDefault, accepted)

	c := tcptest.Supported(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 4, UserTimeout: 75 * time.Second})
	ln, err := keepalive.NewListener(inherited, c)
	require.NoError(t, err)
	_, accepted = tcptest.Pair(t, new(net.Dialer), ln)
	tcptest.AssertOptions(t, c, accepted)
}

// What the listening socket holds by the time of Accept makes no difference.
func TestNewListenerOfAListenerThatChanges(t *testing.T) {
	inner := tcptest.PlainListen(t, "tcp4")
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	ln, err := keepalive.NewListener(inner, c)
	require.NoError(t, err)
	tcptest.SetsockoptInt(t, inner, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5000)
	tcptest.SetsockoptInt(t, inner, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_, accepted := tcptest.Pair(t, new(net.Dialer), ln)
	if !tcptest.Portable {
		tcptest.AssertOptions(t, c, accepted)
	}
}

// A connection that is reset between its handshake and Accept is no reason to
// end the accept loop.
func TestAcceptAfterReset(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (net.Listener, *net.Dialer){
		"tcp":   func(t *testing.T) (net.Listener, *net.Dialer) { return tcptest.PlainListen(t, "tcp4"), new(net.Dialer) },
		"mptcp": func(t *testing.T) (net.Listener, *net.Dialer) { return tcptest.MPTCPListen(t), tcptest.MPTCPDialer() },
	} {
		t.Run(name, func(t *testing.T) {
			inner, d := open(t)
			ln, err := keepalive.NewListener(inner, keepalive.Config{Idle: time.Minute})
			require.NoError(t, err)
			for range 20 {
				conn := tcptest.Dial(t, d, ln)
				require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
				conn.Close()
			}
			last := tcptest.Dial(t, d, ln).LocalAddr().String()
			for tcptest.Accept(t, ln).RemoteAddr().String() != last {
			}
		})
	}
}

// Connections inherit the UserTimeout of the listening socket, and net leaves it.
func TestNewListenerSettlesUserTimeout(t *testing.T) {
	given := keepalive.Config{UserTimeout: 5 * time.Second}
	tcptest.SkipUnsupported(t, given)
	lc := &net.ListenConfig{Control: given.Control}
	lc.SetMultipathTCP(false)
	for _, want := range []time.Duration{0, given.UserTimeout, 7 * time.Second} {
		for name, inner := range map[string]net.Listener{
			"none":      tcptest.PlainListen(t, "tcp4"),
			"inherited": tcptest.Listen(t, lc, "tcp4"),
			"accepted":  settingListener{tcptest.PlainListen(t, "tcp4").(*net.TCPListener), given},
		} {
			ln, err := keepalive.NewListener(inner, keepalive.Config{UserTimeout: want})
			require.NoError(t, err)
			_, accepted := tcptest.Pair(t, new(net.Dialer), ln)
			assert.Equal(t, want, tcptest.Options(t, accepted).UserTimeout, "%s %v", name, want)
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
