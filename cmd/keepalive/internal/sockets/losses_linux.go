package sockets

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// Losses reports the connections of all network namespaces whose peer the kernel
// gives up: see [Loss]. It takes CAP_BPF and CAP_PERFMON, Linux 5.14, and a kernel
// with type information (BTF). Connections of Multipath TCP are left out, and those
// that their program has closed already.
//
// The kernel keeps what has not been read yet in a ring of that many bytes, a power
// of two. [Losses.Missed] counts what did not fit.
type Losses struct {
	ring     *ringbuf.Reader
	maps     []*ebpf.Map
	programs []int // descriptors of attached ones
	missed   *ebpf.Map
	events   chan lossEvent
	failed   error // why events is closed
	holders  *holderFinder
	walked   time.Time
	next     *lossBatch

	hz       uint64
	sockDone uint32 // a bit of enum sock_flags
}

// A lossEvent is either.
type lossEvent struct {
	loss    *Loss
	closing *closing
}

// RingSize is the usual size of the ring: 40,000 losses.
const RingSize = 8 << 20

// WatchLosses returns what reports losses from now on. With others it reports other
// ends too that are not orderly. Close it.
func WatchLosses(ringSize int, others bool) (*Losses, error) {
	if err := mayTrace(); err != nil {
		return nil, err
	}
	l := &Losses{events: make(chan lossEvent, 1024)}
	if err := l.open(ringSize, others); err != nil {
		return nil, errors.Join(explainTracing(err), l.release())
	}
	go l.receive()
	return l, nil
}

func (l *Losses) open(ringSize int, others bool) (err error) {
	if l.hz, err = readHZ(); err != nil {
		return err
	}
	kernel, err := kernelfields.New()
	if err != nil {
		return err
	}
	defer kernel.Close()
	l.sockDone = 1 << kernel.Enum("sock_flags", "SOCK_DONE")
	const most = 1 << 16 // lost connections that their program does not close
	ring, err := l.newMap(ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(ringSize)})
	if err != nil {
		return err
	}
	if l.missed, err = l.newMap(ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		return err
	}
	open, err := l.newMap(ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: 8, ValueSize: 8, MaxEntries: most})
	if err != nil {
		return err
	}
	if l.ring, err = ringbuf.NewReader(ring); err != nil {
		return err
	}
	if l.holders, err = newHolderFinder(kernel); err != nil {
		return err
	}
	m := lossMaps{ring: ring.FD(), missed: l.missed.FD(), open: open.FD()}
	if seesAllProcesses() == nil { // or else a closing has the id of another PID namespace
		if err := l.attach(kernel, closingInstructions(m), "tcp_destroy_sock"); err != nil {
			return err
		}
	}
	// The kernel does not run a program in a softirq that has interrupted it, as while
	// a socket connects. It has not interrupted both copies.
	for range 2 {
		if err := l.attach(kernel, lossInstructions(kernel, m, others), "inet_sock_set_state"); err != nil {
			return err
		}
	}
	return nil
}

func (l *Losses) newMap(spec ebpf.MapSpec) (*ebpf.Map, error) {
	spec.Name = "keepalive"
	m, err := ebpf.NewMap(&spec)
	if err == nil {
		l.maps = append(l.maps, m)
	}
	return m, err
}

// attach attaches a program to a tracepoint, until its descriptor is closed.
func (l *Losses) attach(kernel *kernelfields.Finder, program asm.Instructions, tracepoint string) error {
	fd, err := loadProgram(kernel, program, unix.BPF_TRACE_RAW_TP, kernel.Tracepoint(tracepoint))
	if err != nil {
		return fmt.Errorf("tracepoint %s: %w", tracepoint, err)
	}
	defer unix.Close(fd) // the link keeps it
	link, err := bpf(unix.BPF_RAW_TRACEPOINT_OPEN, unsafe.Pointer(&struct {
		name    uint64
		program uint32
		_       uint32
	}{program: uint32(fd)}), 16)
	if err != nil {
		return fmt.Errorf("tracepoint %s: %w", tracepoint, os.NewSyscallError("bpf BPF_RAW_TRACEPOINT_OPEN", err))
	}
	l.programs = append(l.programs, link)
	return nil
}

// Close ends the report.
func (l *Losses) Close() error {
	err := l.ring.Close()
	for range l.events { // until receive ends
	}
	return errors.Join(err, l.release())
}

func (l *Losses) release() error {
	var errs []error
	if l.ring != nil {
		errs = append(errs, l.ring.Close())
	}
	for _, fd := range l.programs {
		errs = append(errs, unix.Close(fd))
	}
	for _, m := range l.maps {
		errs = append(errs, m.Close())
	}
	if l.holders != nil {
		errs = append(errs, l.holders.Close())
	}
	return errors.Join(errs...)
}

// Missed returns how many losses found the ring full.
func (l *Losses) Missed() (n uint64, err error) {
	return n, l.missed.Lookup(uint32(0), &n)
}

// receive reads the ring until it is closed.
func (l *Losses) receive() {
	defer close(l.events)
	var raw ringbuf.Record
	for {
		if err := l.ring.ReadInto(&raw); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				l.failed = err
			}
			return
		}
		if event, ok := l.decode(raw.RawSample); ok {
			l.events <- event
		}
	}
}

func (l *Losses) decode(raw []byte) (event lossEvent, ok bool) {
	if len(raw) < int(unsafe.Sizeof(lossRecord{})) {
		event.closing = new(closing)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(event.closing)), unsafe.Sizeof(closing{})), raw)
		return event, true
	}
	var r lossRecord
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r)), raw)
	event.loss, ok = r.loss(l.hz, l.sockDone)
	event.loss.Time = sinceBoot(r.when)
	return event, ok
}

// sinceBoot returns the time of a reading of CLOCK_MONOTONIC.
func sinceBoot(ns uint64) time.Time {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Now().Add(time.Duration(int64(ns) - now.Nano()))
}
