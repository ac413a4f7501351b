package seccomppolicy

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A Server makes the sockets of a program.
type Server struct {
	policy   *Policy
	listener listener
	notes    *notes
	unused   chan struct{} // closed once the filter has no user
}

// Serve answers the calls that the filter stops, until no process uses it. It owns
// the listener from then on. What the user should know is written to stderr.
func (p *Policy) Serve(fd int, stderr io.Writer) (*Server, error) {
	s := &Server{policy: p, listener: listener(fd), notes: newNotes(stderr), unused: make(chan struct{})}
	ready := make(chan error)
	go s.serve(ready)
	if err := <-ready; err != nil {
		unix.Close(fd)
		return nil, err
	}
	go func() {
		s.listener.poll(0)
		close(s.unused)
	}()
	return s, nil
}

// Unused is closed once no process uses the filter. Before Linux 5.9 the kernel
// does not tell.
func (s *Server) Unused() <-chan struct{} { return s.unused }

// Close says how many sockets are not guarded. The sockets keep what they have.
func (s *Server) Close() { s.notes.close() }

func (s *Server) serve(ready chan<- error) {
	runtime.LockOSThread() // which has the user that sockets belong to; never unlocked
	own, err := newOrigin()
	ready <- err
	if err != nil {
		return
	}
	s.listener.wakeSynchronously()
	for n := new(notification); ; {
		switch errno := s.listener.receive(n); errno {
		case 0:
			s.listener.send(s.answer(own, n))
		case unix.EINTR:
		case unix.ENOENT:
			if s.listener.poll(unix.POLLIN) {
				return
			}
		default:
			s.notes.say(fmt.Sprintf("the sockets of the program are not guarded any more: %v", os.NewSyscallError("ioctl SECCOMP_IOCTL_NOTIF_RECV", errno)))
			unix.Close(int(s.listener)) // rather than have the program wait for ever
			return
		}
	}
}

func (s *Server) answer(own *origin, n *notification) response {
	switch {
	case n.arch != native.arch || n.nr&x32Bit != 0:
		return s.answerForeign(n)
	case n.nr == native.socket:
		return s.answerSocket(own, n)
	}
	return s.answerConnecting(n)
}
