// Package sockstress makes sockets by many threads that signals interrupt all the
// time, and looks at each one.
package sockstress

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Run makes as many TCP sockets by as many threads, and returns an error for the
// first one that is not what socket(2) makes, or does not hold the idle time in
// seconds, and where one is left over.
func Run(threads, sockets, idle int) error {
	before := openSockets()
	stop := make(chan struct{})
	tids := make(chan int, threads)
	errs := make(chan error, threads)
	var workers, interrupter sync.WaitGroup
	for range threads {
		workers.Go(func() {
			runtime.LockOSThread()
			tids <- unix.Gettid()
			for range sockets / threads {
				if err := one(idle); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	interrupter.Go(func() { interrupt(threads, tids, stop) })
	workers.Wait()
	close(stop)
	interrupter.Wait()
	close(errs)
	for err := range errs {
		return err
	}
	if after := openSockets(); after != before {
		return fmt.Errorf("%d open sockets, %d before", after, before)
	}
	return nil
}

// interrupt sends the threads the signal with which Go preempts.
func interrupt(threads int, tids <-chan int, stop <-chan struct{}) {
	var all []int
	for range threads {
		all = append(all, <-tids)
	}
	for {
		for _, tid := range all {
			unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
		}
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// openSockets returns how many sockets this process has open.
func openSockets() int {
	links, _ := filepath.Glob("/proc/self/fd/*")
	n := 0
	for _, link := range links {
		if target, _ := os.Readlink(link); strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// one makes a socket and looks at it, before and after other threads ran.
func one(idle int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if fd < 3 {
		return fmt.Errorf("descriptor %d", fd)
	}
	var first unix.Stat_t
	if err := unix.Fstat(fd, &first); err != nil {
		return err
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	on, onErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	held, heldErr := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	if err := errors.Join(err, onErr, heldErr); err != nil {
		return err
	}
	if protocol != unix.IPPROTO_TCP || on != 1 || held != idle {
		return fmt.Errorf("descriptor %d: protocol %d, SO_KEEPALIVE %d, TCP_KEEPIDLE %d", fd, protocol, on, held)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	runtime.Gosched()
	var second unix.Stat_t
	if err := unix.Fstat(fd, &second); err != nil {
		return err
	}
	if first.Ino != second.Ino {
		return fmt.Errorf("descriptor %d was replaced by another socket", fd)
	}
	return nil
}
