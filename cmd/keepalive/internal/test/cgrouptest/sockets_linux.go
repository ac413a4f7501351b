package cgrouptest

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"golang.org/x/sys/unix"
)

// maker is the environment variable that makes a test binary make sockets.
const maker = "CGROUPTEST_SOCKETS"

// Sockets are made by a process in a group. A socket belongs to the group of
// the process that makes it, whoever uses it.
type Sockets struct{ conn *net.UnixConn }

// NewSockets starts a process in a group that makes sockets until the test ends.
// The package's tests have to run by [Run].
func NewSockets(t testing.TB, g *cgroup.Group) *Sockets {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "")
	defer theirs.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), maker+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	Start(t, g, cmd)
	conn := unixConn(os.NewFile(uintptr(fds[0]), ""))
	t.Cleanup(func() {
		conn.Close()
		cmd.Process.Kill() // its race detector would sleep for a second
		cmd.Wait()
	})
	return &Sockets{conn}
}

func unixConn(f *os.File) *net.UnixConn {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		panic(err)
	}
	return conn.(*net.UnixConn)
}

// Socket is socket(2). It costs two system calls and a process that wakes up.
func (s *Sockets) Socket(t testing.TB, domain, typ, protocol int) (fd int, err error) {
	t.Helper()
	request := make([]byte, 0, 12)
	for _, n := range []int{domain, typ, protocol} {
		request = binary.NativeEndian.AppendUint32(request, uint32(n))
	}
	if _, err := s.conn.Write(request); err != nil {
		t.Fatal(err)
	}
	answer, rights := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := s.conn.ReadMsgUnix(answer, rights)
	if err != nil {
		t.Fatal(err)
	}
	if errno := unix.Errno(binary.NativeEndian.Uint32(answer)); errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		t.Fatal(err)
	}
	if len(messages) == 0 {
		t.Fatal("there is no room for the descriptor of a socket: this process has too many")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], nil
}

// makeSockets answers requests until nobody can ask any more.
func makeSockets() {
	conn := unixConn(os.NewFile(3, ""))
	request := make([]byte, 12)
	for {
		if n, err := conn.Read(request); n != len(request) || err != nil {
			return
		}
		argument := func(i int) int { return int(binary.NativeEndian.Uint32(request[4*i:])) }
		fd, err := unix.Socket(argument(0), argument(1)|unix.SOCK_CLOEXEC, argument(2))
		errno, _ := err.(unix.Errno)
		var rights []byte
		if errno == 0 {
			rights = unix.UnixRights(fd)
		}
		conn.WriteMsgUnix(binary.NativeEndian.AppendUint32(nil, uint32(errno)), rights, nil)
		unix.Close(fd)
	}
}
