package supervise

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Stderr is the standard error of this process while the program runs, which has
// the same one. A write never raises SIGPIPE, which [Signals] would pass on to the
// program. It fails if it takes a second, and so do writes while it goes on.
var Stderr io.Writer = newOutput(unix.Stderr)

// An output writes to a descriptor.
type output struct {
	fd   int
	idle chan struct{} // has a value while nothing is written
}

func newOutput(fd int) *output {
	o := &output{fd, make(chan struct{}, 1)}
	o.idle <- struct{}{}
	return o
}

func (o *output) Write(p []byte) (int, error) {
	select {
	case <-o.idle:
	default:
		return 0, os.ErrDeadlineExceeded
	}
	written := make(chan error, 1)
	go func(p []byte) {
		runtime.LockOSThread() // never unlocked: SIGPIPE ends with the thread
		err := blockSIGPIPE()
		if err == nil {
			err = writeAll(o.fd, p)
		}
		o.idle <- struct{}{}
		written <- err
	}(bytes.Clone(p))
	select {
	case err := <-written:
		if err != nil {
			return 0, err
		}
		return len(p), nil
	case <-time.After(time.Second):
		return 0, os.ErrDeadlineExceeded
	}
}

// blockSIGPIPE has this thread not get SIGPIPE.
func blockSIGPIPE() error {
	var set unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGPIPE - 1)
	return os.NewSyscallError("sigprocmask", unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil))
}

// writeAll writes all of p, also where the descriptor does not block.
func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		switch err {
		case nil:
			p = p[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return os.NewSyscallError("write", err)
		}
	}
	return nil
}
