package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a machine of a [Lab]: a network namespace with addresses and routes.
// Its methods may be called side by side, but for LinkDown, LinkUp and Reboot.
//
// The namespace has no name and is mounted nowhere. A thread of this process
// and a descriptor hold it, so that it is gone with the process at the latest,
// however that ends.
type Host struct {
	IPv4, IPv6 string // addresses; the firewall's are those that the client knows

	links []*link
	space atomic.Pointer[namespace]
}

// link is one end of a cable.
type link struct {
	host       *Host
	device     string
	ipv4, ipv6 string
	other      *link // the other end
}

// newHost returns a host whose network devices are yet to be made. A host with
// one link routes everything over that.
func newHost(t testing.TB, links ...*link) *Host {
	t.Helper()
	h := &Host{IPv4: links[0].ipv4, IPv6: links[0].ipv6, links: links}
	for _, l := range links {
		l.host = h
	}
	h.space.Store(newHostNamespace(t))
	return h
}

// namespace is a network namespace and a thread in it.
type namespace struct {
	file  *os.File
	calls chan func()
	stop  context.CancelFunc // ends the processes that Start started
	ctx   context.Context
}

// newNamespace makes a namespace that lasts until the test ends.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	ns := &namespace{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		if err == nil {
			ns.file, err = os.Open("/proc/thread-self/ns/net")
		}
		ready <- err
		for call := range ns.calls {
			call()
		}
	}()
	err := <-ready
	ns.ctx, ns.stop = context.WithCancel(context.Background())
	t.Cleanup(func() {
		ns.stop()
		close(ns.calls)
		ns.file.Close()
	})
	if err != nil {
		Skip(t, err)
	}
	if err := ns.do(loopbackUp); err != nil {
		t.Fatal("netlab:", err)
	}
	return ns
}

// do runs f in the namespace, on the goroutine that calls it.
func (ns *namespace) do(f func() error) error {
	runtime.LockOSThread()
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer outside.Close()
	if err := setns(ns.file); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if err := setns(outside); err != nil {
			panic(err) // the goroutine stays locked to the thread that is lost
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

func setns(file *os.File) error {
	return os.NewSyscallError("setns", unix.Setns(int(file.Fd()), unix.CLONE_NEWNET))
}

// Do runs f on the host: sockets that f opens and processes that it starts
// belong there, whoever uses them later. Goroutines that it starts do not, such
// as those with which net looks up a name, or dials several addresses at once.
func (h *Host) Do(f func()) {
	if err := h.space.Load().do(func() error { f(); return nil }); err != nil {
		panic(fmt.Sprint("netlab: ", err))
	}
}

// DialFunc is the shape of [net.Dialer.DialContext].
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Within returns a dial function that dials from the host. It is for clients
// that connect when they like. The address is best a literal one; see [Host.Do].
func (h *Host) Within(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		h.Do(func() { conn, err = dial(ctx, network, address) })
		return conn, err
	}
}

// ListenConfig is [net.ListenConfig], or what listens like it.
type ListenConfig interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
}

// Listen listens on the host until the test ends, on the address that
// [Host.Address] returns.
func (h *Host) Listen(t testing.TB, lc ListenConfig, network string, port int) (ln net.Listener) {
	t.Helper()
	var err error
	h.Do(func() { ln, err = lc.Listen(t.Context(), network, h.Address(network, port)) })
	if err != nil {
		t.Fatal("netlab:", err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// Address returns the host's address for a network: IPv6 if its name ends in 6,
// or else IPv4. Port 0 is any free one.
func (h *Host) Address(network string, port int) string {
	ip := h.IPv4
	if strings.HasSuffix(network, "6") {
		ip = h.IPv6
	}
	return net.JoinHostPort(ip, strconv.Itoa(port))
}

// Start starts a process on the host, such as a server. The kernel kills it
// when this process ends, and the lab when the test ends or the host reboots.
// Wait for it as usual.
//
// Processes that end before the test goes on need none of this: run them
// within [Host.Do].
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	ns := h.space.Load()
	started := make(chan error)
	// Pdeathsig counts from the end of the thread that starts the process.
	ns.calls <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	context.AfterFunc(ns.ctx, func() { cmd.Process.Kill() })
	return nil
}

// Sysctl sets a sysctl of the host, such as net.ipv4.tcp_retries2.
func (h *Host) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	h.Do(func() { writeSysctl(t, name, value) })
}

// LinkDown takes the host off the network. Its neighbours notice that their
// cable ends nowhere, and answer for it with ICMP errors after a while.
func (h *Host) LinkDown(t testing.TB) {
	t.Helper()
	var batch strings.Builder
	for _, link := range h.links {
		fmt.Fprintln(&batch, "link set", link.device, "down")
	}
	h.ip(t, batch.String())
}

// LinkUp ends what LinkDown began, and returns once packets get to the hosts at
// the other ends of the links, which must be up, and back.
func (h *Host) LinkUp(t testing.TB) {
	t.Helper()
	h.ip(t, h.setup())
	h.awaitNeighbours(t)
}

// DropEgress makes the host drop what it sends, as a full queue does. Unlike
// what a link or a route loses, the kernel knows of it.
func (h *Host) DropEgress(t testing.TB) {
	t.Helper()
	h.run(t, `table netdev lab {
	chain egress {
		type filter hook egress device "eth0" priority 0; policy drop;
	}
}`, nil, "nft", "-f", "-")
}

// Reboot makes the host forget everything but its addresses. Its processes are
// killed, and its connections end without a farewell: what arrives for them is
// answered with a reset from now on. The sockets of this process that belonged
// to the host live on, but nothing reaches them any more.
func (h *Host) Reboot(t testing.TB) {
	t.Helper()
	off, on := h.space.Load(), newHostNamespace(t)
	var batch strings.Builder
	for _, link := range h.links {
		fmt.Fprintln(&batch, "link set", link.device, "netns /proc/self/fd/3")
	}
	h.ip(t, batch.String(), on.file) // before the processes close their connections
	off.stop()
	h.space.Store(on)
	h.LinkUp(t)
}

// newHostNamespace makes a namespace whose IPv6 addresses work at once and
// stay while a link is down.
func newHostNamespace(t testing.TB) *namespace {
	t.Helper()
	ns := newNamespace(t)
	if err := ns.do(func() error {
		writeSysctl(t, "net.ipv6.conf.default.accept_dad", "0")
		writeSysctl(t, "net.ipv6.conf.default.keep_addr_on_down", "1")
		return nil
	}); err != nil {
		t.Fatal("netlab:", err)
	}
	return ns
}

// awaitNeighbours waits until packets get to the hosts at the other ends of the
// links and back. To ask them sooner costs time: the kernel asks for the address
// of a neighbour once a second.
func (h *Host) awaitNeighbours(t testing.TB) {
	t.Helper()
	giveUp := time.Now().Add(30 * time.Second)
	for _, l := range h.links {
		for !l.carries() || !l.other.carries() {
			if time.Now().After(giveUp) {
				flags, err := l.flags()
				t.Fatalf("netlab: %s has no carrier: flags %#x, %v", l.device, flags, err)
			}
			time.Sleep(time.Millisecond)
		}
		for !h.reaches(l.other.ipv4) || !h.reaches(l.other.ipv6) {
			if time.Now().After(giveUp) {
				t.Fatalf("netlab: %s gets no answer", l.device)
			}
		}
	}
}

// carries reports whether this end of the link can send: it needs a carrier, and
// a kernel that has noticed. Under qemu-user [net.InterfaceByName] may fail.
func (l *link) carries() bool {
	flags, err := l.flags()
	return err == nil && flags&unix.IFF_RUNNING != 0
}

func (l *link) flags() (flags uint16, err error) {
	l.host.Do(func() {
		err = onDevice(l.device, func(fd int, device *unix.Ifreq) error {
			defer func() { flags = device.Uint16() }()
			return os.NewSyscallError("ioctl SIOCGIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, device))
		})
	})
	return flags, err
}

// reaches reports whether another host answers. Nobody listens on port 1.
func (h *Host) reaches(ip string) bool {
	dial := h.Within((&net.Dialer{Timeout: 100 * time.Millisecond}).DialContext)
	conn, err := dial(context.Background(), "tcp", net.JoinHostPort(ip, "1"))
	if err == nil {
		conn.Close()
	}
	return err == nil || errors.Is(err, unix.ECONNREFUSED)
}

// setup returns what ip -batch needs to bring the links up.
func (h *Host) setup() string {
	var batch strings.Builder
	for _, l := range h.links {
		fmt.Fprintln(&batch, "address replace", l.ipv4+"/24", "dev", l.device)
		fmt.Fprintln(&batch, "address replace", l.ipv6+"/64", "dev", l.device, "nodad")
		fmt.Fprintln(&batch, "link set", l.device, "up")
	}
	if len(h.links) == 1 {
		fmt.Fprintln(&batch, "route replace default via", h.links[0].other.ipv4)
		fmt.Fprintln(&batch, "route replace default via", h.links[0].other.ipv6)
	}
	return batch.String()
}

// ip runs ip -batch on the host, for which the files are /proc/self/fd/3 and on.
func (h *Host) ip(t testing.TB, batch string, files ...*os.File) {
	t.Helper()
	h.run(t, batch, files, "ip", "-batch", "-")
}

// run runs a tool of the system on the host.
func (h *Host) run(t testing.TB, stdin string, files []*os.File, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(LookPath(t, name), args...)
	cmd.Stdin, cmd.ExtraFiles = strings.NewReader(stdin), files
	var out []byte
	var err error
	h.Do(func() { out, err = cmd.CombinedOutput() })
	if err == nil {
		return
	}
	err = fmt.Errorf("netlab: %s: %w: %s", name, err, out)
	if bytes.Contains(bytes.ToLower(out), []byte(unix.EPERM.Error())) {
		Skip(t, err)
	}
	t.Fatal(err)
}

// lookPath also looks where the path of an unprivileged user does not lead.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}
