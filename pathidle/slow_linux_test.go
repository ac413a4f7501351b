//go:build !keepalive_portable

package pathidle_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// An answer that takes 300 ms is no lost one.
func TestMeasureSlowPath(t *testing.T) {
	t.Parallel()
	const limit, oneWay = 5 * time.Second, 150 * time.Millisecond
	lab := netlab.NewLab(t, netlab.Rules{})
	client := tunnel(t, lab.Client, "203.0.113.1/24")
	server := tunnel(t, lab.Server, "203.0.113.2/24")
	var p slowPath
	go p.carry(client, server, limit, oneWay)
	go p.carry(server, client, limit, oneWay)

	lc := plain()
	var ln net.Listener
	lab.Server.Do(func() {
		var err error
		ln, err = lc.Listen(t.Context(), "tcp4", "203.0.113.2:1")
		require.NoError(t, err)
	})
	defer ln.Close()
	go accept(t, ln, discard)
	r, err := measure(t.Context(), t, lab, "tcp4", ln.Addr().String(), pathidle.Options{})
	require.NoError(t, err)
	assert.Equal(t, pathidle.Found, r.Verdict)
	// Each end counts from what it has heard of the other, a round trip apart.
	const slack = 2*oneWay + 50*time.Millisecond
	assert.Less(t, r.Survived, limit+slack)
	assert.Greater(t, r.Lost, limit-slack)
	var longest time.Duration // some count from when the program got to run again after the probe
	for _, s := range r.Samples {
		longest = max(longest, s.RTT)
	}
	assert.GreaterOrEqual(t, longest, 2*oneWay-10*time.Millisecond)
}

// slowPath remembers flows, by the ports of their ends.
type slowPath struct {
	mu   sync.Mutex
	seen map[[2]uint16]time.Time
}

// carry carries packets from one end to the other, some time later, but not of
// flows that were silent for longer than the limit.
func (p *slowPath) carry(from io.Reader, to io.Writer, limit, delay time.Duration) {
	packet := make([]byte, 2000)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		if packet[0] != 0x45 || packet[9] != unix.IPPROTO_TCP || !p.knows(packet[20:n], limit) {
			continue
		}
		copied := append([]byte(nil), packet[:n]...)
		time.AfterFunc(delay, func() { to.Write(copied) })
	}
}

func (p *slowPath) knows(segment []byte, limit time.Duration) bool {
	const syn = 0x02
	a, b := binary.BigEndian.Uint16(segment), binary.BigEndian.Uint16(segment[2:])
	flow := [2]uint16{min(a, b), max(a, b)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if segment[13]&syn == 0 && time.Since(p.seen[flow]) > limit {
		return false
	}
	if p.seen == nil {
		p.seen = make(map[[2]uint16]time.Time)
	}
	p.seen[flow] = time.Now()
	return true
}

// tunnel gives a host a network device whose packets this process carries.
func tunnel(t *testing.T, host *netlab.Host, address string) *os.File {
	t.Helper()
	var device *os.File
	host.Do(func() {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			netlab.Skip(t, os.NewSyscallError("open /dev/net/tun", err))
		}
		ifr, err := unix.NewIfreq("slow")
		require.NoError(t, err)
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		require.NoError(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
		device = os.NewFile(uintptr(fd), "tun") // not sooner: it could not be polled
		for _, args := range [][]string{{"address", "add", address, "dev", "slow"}, {"link", "set", "slow", "up"}} {
			out, err := exec.Command("ip", args...).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	})
	t.Cleanup(func() { device.Close() })
	return device
}
