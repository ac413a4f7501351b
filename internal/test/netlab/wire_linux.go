package netlab

import (
	"context"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A Wire joins the client and the server of a [Lab] directly. This process
// carries its packets, and so can delay, reorder and drop them.
type Wire struct {
	lab  *Lab
	pass func(p Packet) (delay time.Duration, ok bool)
}

// A Packet is a TCP segment over IPv4 that is on a [Wire].
type Packet struct {
	FromClient bool
	Payload    int // bytes
	Bytes      []byte
}

const wireClient, wireServer = "203.0.113.1", "203.0.113.2"

// NewWire joins the two hosts. pass decides for each packet after how long it
// arrives, or that it is dropped. It is called by two goroutines.
func NewWire(t testing.TB, lab *Lab, pass func(p Packet) (delay time.Duration, ok bool)) *Wire {
	t.Helper()
	w := &Wire{lab, pass}
	client, server := openTun(t, lab.Client, wireClient), openTun(t, lab.Server, wireServer)
	go w.carry(true, client, server)
	go w.carry(false, server, client)
	return w
}

// Listen listens on the server's end until the test ends.
func (w *Wire) Listen(t testing.TB, lc ListenConfig) (ln net.Listener) {
	t.Helper()
	var err error
	w.lab.Server.Do(func() { ln, err = lc.Listen(t.Context(), "tcp4", wireServer+":0") })
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// Dial connects the client to ln until the test ends.
func (w *Wire) Dial(t testing.TB, dial DialFunc, ln net.Listener) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := w.lab.Client.Within(dial)(ctx, "tcp4", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (w *Wire) carry(fromClient bool, from, to *os.File) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if n < 40 || buffer[0] != 0x45 || buffer[9] != unix.IPPROTO_TCP {
			continue
		}
		packet := append([]byte(nil), buffer[:n]...)
		headers := 20 + int(packet[32]>>4)*4
		if delay, ok := w.pass(Packet{fromClient, n - headers, packet}); ok {
			time.AfterFunc(delay, func() { to.Write(packet) })
		}
	}
}

// openTun gives a host a network device whose packets this process carries.
func openTun(t testing.TB, host *Host, address string) (device *os.File) {
	t.Helper()
	host.Do(func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			Skip(t, os.NewSyscallError("open /dev/net/tun", err))
		}
		ifr, err := unix.NewIfreq("wire")
		require.NoError(t, err)
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		require.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
		device = os.NewFile(uintptr(fd), "tun") // not sooner: it could not be polled
		for _, args := range [][]string{{"address", "add", address + "/24", "dev", "wire"}, {"link", "set", "wire", "txqueuelen", "1000", "up"}} {
			out, err := exec.Command("ip", args...).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	})
	t.Cleanup(func() { device.Close() })
	return device
}
