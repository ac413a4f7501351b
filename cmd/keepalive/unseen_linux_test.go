package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// loopback is a connection of this process, as descriptors that Go's poller
// does not know.
type loopback struct{ listener, dialed, accepted int }

// newLoopback connects in the network namespace of the calling thread. It leaves
// it to the test to close what it returns.
func newLoopback(t testing.TB) loopback { return newLoopbackOn(t, [4]byte{127, 0, 0, 1}) }

// newLoopbackOn does so with an address for both ends.
func newLoopbackOn(t testing.TB, address [4]byte) (l loopback) {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		return fd
	}
	l.listener, l.dialed = socket(), socket()
	require.NoError(t, unix.Bind(l.listener, &unix.SockaddrInet4{Addr: address}))
	require.NoError(t, unix.Bind(l.dialed, &unix.SockaddrInet4{Addr: address}))
	require.NoError(t, unix.Listen(l.listener, 8))
	require.NoError(t, unix.Connect(l.dialed, l.address(t)))
	var err error
	l.accepted, _, err = unix.Accept4(l.listener, unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	return l
}

func (l loopback) address(t testing.TB) unix.Sockaddr {
	t.Helper()
	address, err := unix.Getsockname(l.listener)
	require.NoError(t, err)
	return address
}

// close closes what is open still.
func (l *loopback) close() {
	for _, fd := range []*int{&l.accepted, &l.dialed, &l.listener} {
		closeOnce(fd)
	}
}

// closeOnce closes a descriptor, whose number another one may have from then on.
func closeOnce(fd *int) {
	if *fd >= 0 {
		unix.Close(*fd)
	}
	*fd = -1
}

// ofThisProcess selects the sockets of the test binary.
func ofThisProcess() []string { return []string{"--pid", fmt.Sprint(os.Getpid())} }

// unseenHere runs a guard over this process, and returns the lines of what it
// could not see in the network namespace of the calling thread.
func unseenHere(t testing.TB, args ...string) (lines []string) {
	t.Helper()
	r := runCommand(t, append(append([]string{"ls", "--hang", "never", "--json"}, ofThisProcess()...), args...)...)
	for line := range strings.Lines(r.stderr) {
		if strings.Contains(line, fmt.Sprint("network namespace ", namespaceOf(t), " ")) {
			assert.Equal(t, exitProblem, r.code, line)
			lines = append(lines, line)
		}
	}
	return lines
}

// awaitUnseen waits for such a line: a command that another test starts holds this
// process's descriptors for a moment.
func awaitUnseen(t testing.TB) (lines []string) {
	t.Helper()
	awaitThat(t, func() bool {
		lines = unseenHere(t)
		return len(lines) == 1
	}, "nothing is unseen")
	return lines
}

// statesHere returns the states of this process's sockets in the namespace of the
// calling thread.
func statesHere(t testing.TB) map[string]int {
	t.Helper()
	states := make(map[string]int)
	for _, o := range list(t, ofThisProcess()...) {
		if value(t, o.NetNS) == namespaceOf(t) {
			states[o.State]++
		}
	}
	return states
}

// A socket in a message that nobody has received belongs to no process.
func TestLsInFlightOverUnix(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	l := newLoopback(t)
	defer l.close()
	assert.Empty(t, unseenHere(t))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	require.NoError(t, unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(l.accepted), nil, 0))
	closeOnce(&l.accepted)

	port := l.address(t).(*unix.SockaddrInet4).Port
	lines := awaitUnseen(t)
	assert.Regexp(t, fmt.Sprintf(`^1 TCP connection of network namespace \d+ found in no process \(127\.0\.0\.1:%d to 127\.0\.0\.1:\d+\): in flight over a Unix socket, `, port), lines[0])
	assert.Len(t, unseenHere(t, "--local", fmt.Sprint(":", port)), 1)
	assert.Empty(t, unseenHere(t, "--remote", fmt.Sprint(":", port)), "another address is selected")
	r := runCommand(t, append([]string{"ls"}, ofThisProcess()...)...)
	assert.Equal(t, exitDone, r.code, "without --hang it is said")
	assert.Contains(t, r.stdout, strings.TrimSpace(lines[0]))
	r = runCommand(t, append([]string{"set", "--dry-run", "idle=1m"}, ofThisProcess()...)...)
	assert.Contains(t, r.stderr, strings.TrimSpace(lines[0]))

	rights := make([]byte, unix.CmsgSpace(4))
	_, _, _, _, err = unix.Recvmsg(pair[1], make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	require.NoError(t, err)
	messages, err := unix.ParseSocketControlMessage(rights)
	require.NoError(t, err)
	fds, err := unix.ParseUnixRights(&messages[0])
	require.NoError(t, err)
	l.accepted = fds[0]
	assert.Empty(t, unseenHere(t))
}

// A file that is registered with io_uring needs no descriptor.
func TestLsRegisteredWithIOUring(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	var params [120]byte // struct io_uring_params
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		netlab.Skip(t, os.NewSyscallError("io_uring_setup", errno))
	}
	defer unix.Close(int(ring))
	l := newLoopback(t)
	defer l.close()
	const registerFiles = 2 // IORING_REGISTER_FILES
	fds := [1]int32{int32(l.dialed)}
	_, _, errno = unix.Syscall6(unix.SYS_IO_URING_REGISTER, ring, registerFiles, uintptr(unsafe.Pointer(&fds)), 1, 0, 0)
	require.Zero(t, errno)
	assert.Empty(t, unseenHere(t))
	closeOnce(&l.dialed)
	awaitUnseen(t)
}

// Connections that nobody holds any more or not yet are nothing that a guard has
// missed.
func TestLsMissesNothing(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	fresh, timeWait, orphan := newLoopback(t), newLoopback(t), newLoopback(t)
	defer fresh.close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Connect(fd, fresh.address(t)), "which nobody accepts")
	timeWait.close() // the accepted end first
	closeOnce(&orphan.accepted)
	defer orphan.close()
	closing := regexp.MustCompile(`(?m)^TIME-WAIT (.|\n)*^FIN-WAIT-2 |^FIN-WAIT-2 (.|\n)*^TIME-WAIT `)
	awaitThat(t, func() bool { // FIN-WAIT-1 is the state before
		out, err := exec.Command(netlab.LookPath(t, "ss"), "-tanH").Output()
		require.NoError(t, err)
		return closing.Match(out)
	}, "the closed ends are in other states")
	assert.Empty(t, unseenHere(t))
	assert.Equal(t, map[string]int{"established": 3, "close-wait": 1, "listen": 2}, statesHere(t))
}

// startThreads starts the program of that name with credentials, or the caller's.
func startThreads(t testing.TB, mode string, credential *syscall.Credential) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(t, "threads"), mode)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { stdin.Close() })
	start(t, cmd).await(t, "ready")
	return cmd
}

// A thread can have descriptors that its process does not have, and a process
// lives on when its main thread has ended.
func TestLsThreads(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, nobody := dirOf(t, "nobody")
	for _, mode := range []string{"own", "ended"} {
		for _, credential := range []*syscall.Credential{nil, nobody} {
			server := startThreads(t, mode, credential)
			if mode == "ended" {
				status, err := os.ReadFile("/proc/" + pid(server) + "/status")
				require.NoError(t, err)
				require.Regexp(t, `State:\s+Z`, string(status))
			}
			l := list(t, "--pid", pid(server), "--command", "threads")
			assert.Len(t, l, 4, mode)
			for _, o := range l {
				assert.Len(t, o.Processes, 1, "of copies of a descriptor one is enough: %s", mode)
			}
			if credential != nil {
				r := asNobody(t, "ls", "--json", "--pid", pid(server))
				assert.Len(t, objects(t, r.stdout), 4, r.stderr)
			}
			r := runCommand(t, "ls", "--pid", pid(server), "--hang", "1s")
			assert.Equal(t, exitProblem, r.code)
			assert.Equal(t, 2, strings.Count(r.stdout, "threads["), r.stdout)

			r = runCommand(t, "set", "--pid", pid(server), "idle=77s")
			assert.Equal(t, exitDone, r.code, r.stderr)
			assert.Equal(t, "4 sockets: 4 set\n", r.stderr)
			for _, o := range list(t, "--pid", pid(server)) {
				assert.Equal(t, 77.0, float64(o.Idle))
			}
			r = runCommand(t, "ls", "--pid", pid(server), "--hang", "never")
			assert.Equal(t, result{}, r)
		}
	}
}

// inMountNamespace runs a command after a script has changed the mounts.
func inMountNamespace(t testing.TB, script string, args ...string) result {
	t.Helper()
	unshare := append([]string{"--mount", "sh", "-c", script + ` && exec "$0" "$@"`}, args...)
	r := finish(t, exec.CommandContext(t.Context(), netlab.LookPath(t, "unshare"), unshare...))
	if strings.Contains(r.stderr, "unshare: ") || strings.Contains(r.stderr, "mount: ") {
		netlab.Skip(t, fmt.Errorf("no mount namespace: %s", r.stderr))
	}
	return r
}

func TestLsWithoutProc(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, _ := startGo(t, "127.0.0.1:0")
	keepalive := program(t, "keepalive")
	for _, args := range [][]string{{"ls"}, {"ls", "--json"}, {"ls", "--hang", "never"}, {"set", "--pid", pid(server), "off"}} {
		r := inMountNamespace(t, "mount -t tmpfs none /proc", append([]string{keepalive}, args...)...)
		assert.Equal(t, exitProblem, r.code, args)
		assert.Equal(t, "keepalive: /proc is not a proc file system, so that no process can be seen: mount one (mount -t proc proc /proc)\n", r.stderr)
		assert.Empty(t, r.stdout)

		cmd := command(t, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
		r = finish(t, cmd)
		assert.Equal(t, exitProblem, r.code, args)
		assert.Regexp(t, `^keepalive: /proc shows the processes of another PID namespace: mount its own `, r.stderr)
		assert.Empty(t, r.stdout)
	}
}

// hidepid=2 takes processes of other users out of sight.
func TestLsHiddenProcesses(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, credential := dirOf(t, "nobody")
	hide := "mount -t proc -o hidepid=2 proc /proc"
	guard := []string{program(t, "keepalive"), "ls", "--hang", "never", "--local", "192.0.2.1"}
	r := inMountNamespace(t, hide, guard...)
	assert.NotContains(t, r.stdout, "hidepid", "root sees them")
	nobody := []string{netlab.LookPath(t, "setpriv"), fmt.Sprint("--reuid=", credential.Uid), fmt.Sprint("--regid=", credential.Gid), "--clear-groups"}
	r = inMountNamespace(t, hide, append(nobody, guard...)...)
	assert.Equal(t, exitProblem, r.code)
	assert.Regexp(t, `(?m)^/proc may hide processes \(hidepid=(2|invisible)\), so it takes CAP_SYS_PTRACE, which root has$`, r.stdout)
}

// Sockets of other kinds are not mistaken for TCP's, nor keep a process from being
// looked into.
func TestLsOtherSockets(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	const smc, xdp, kcm, ieee802154, qipcrtr, rds = 43, 44, 41, 36, 42, 21
	made := 0
	for _, kind := range [][3]int{
		{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP}, {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_TCP},
		{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW}, {unix.AF_INET, unix.SOCK_DGRAM, 0}, {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
		{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, {unix.AF_UNIX, unix.SOCK_STREAM, 0}, {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM},
		{unix.AF_PACKET, unix.SOCK_RAW, 0x600}, {unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, {unix.AF_KEY, unix.SOCK_RAW, 2}, {unix.AF_CAN, unix.SOCK_DGRAM, 2},
		{unix.AF_CAN, unix.SOCK_DGRAM, 6}, {unix.AF_VSOCK, unix.SOCK_STREAM, 0}, {unix.AF_TIPC, unix.SOCK_STREAM, 0}, {unix.AF_BLUETOOTH, unix.SOCK_STREAM, 3},
		{xdp, unix.SOCK_RAW, 0}, {kcm, unix.SOCK_DGRAM, 0}, {smc, unix.SOCK_STREAM, 0}, {ieee802154, unix.SOCK_DGRAM, 0}, {qipcrtr, unix.SOCK_DGRAM, 0}, {rds, unix.SOCK_SEQPACKET, 0},
	} {
		if fd, err := unix.Socket(kind[0], kind[1]|unix.SOCK_CLOEXEC, kind[2]); err == nil {
			defer unix.Close(fd)
			made++
		}
	}
	require.Greater(t, made, 5)
	assert.Empty(t, statesHere(t))
	r := runCommand(t, append([]string{"ls", "--hang", "never"}, ofThisProcess()...)...)
	assert.NotContains(t, r.stdout, "could not be looked into")
}

func TestLsZone(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	out, err := exec.Command(netlab.LookPath(t, "ip"), "address", "add", "fe80::1/64", "dev", "lo", "nodad").CombinedOutput()
	if err != nil {
		netlab.Skip(t, fmt.Errorf("%w: %s", err, out))
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // which has no zone
	ln, err := plain.Listen(t.Context(), "tcp", "[fe80::1%lo]:7000")
	require.NoError(t, err)
	defer ln.Close()
	dial(t, "[fe80::1%lo]:7000")
	local := func(zone string) int {
		return len(list(t, append(ofThisProcess(), "--local", "[fe80::1"+zone+"]:7000")...))
	}
	assert.Equal(t, []int{1, 1, 0}, []int{local(""), local("%lo"), local("%eth0")})
	for _, o := range list(t, append(ofThisProcess(), "--local", "fe80::1%lo")...) {
		assert.Equal(t, "lo", o.Local.Addr().Zone())
		if o.Remote != nil {
			assert.Equal(t, "lo", o.Remote.Addr().Zone())
		}
	}
}

// A name of a program is not a list of names.
func TestLsCommand(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	for _, name := range []string{`a,b`, `a"b`, ` a`, "a\tb", "a-name-of-more-than-15-bytes"} {
		path := t.TempDir() + "/" + name
		require.NoError(t, os.Symlink(program(t, "goserver"), path))
		server := exec.Command(path, "127.0.0.1:0")
		start(t, server).await(t, "listening")
		selected := func(command string) int { return len(list(t, "--pid", pid(server), "--command", command)) }
		assert.Equal(t, 1, selected(name), "%q", name)
		assert.Equal(t, 1, selected(name[:min(len(name), 15)]), "%q", name)
		assert.Equal(t, 0, selected(name[:1]), "%q", name)
	}
}
