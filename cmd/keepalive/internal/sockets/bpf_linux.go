package sockets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
)

// A bpfIterator is a program of eBPF that the kernel calls for each descriptor or
// socket, and that writes to whoever reads. It takes CAP_BPF and CAP_PERFMON, and a
// kernel with BTF. Package ebpf would read all of the BTF again to find the
// function that the program is attached to.
type bpfIterator struct{ link int }

// newBPFIterator loads a program, whose instructions were made with a Finder. Over is
// "task_file" or "tcp". Close what it returns.
func newBPFIterator(k *kernelfields.Finder, over string, instructions asm.Instructions) (*bpfIterator, error) {
	program, err := loadProgram(k, instructions, unix.BPF_TRACE_ITER, k.Function("bpf_iter_"+over))
	if err != nil {
		return nil, err
	}
	defer unix.Close(program) // the link keeps it
	link, err := bpf(unix.BPF_LINK_CREATE, unsafe.Pointer(&struct {
		program, target, attachType, flags uint32
	}{uint32(program), 0, unix.BPF_TRACE_ITER, 0}), 16)
	if err != nil {
		return nil, os.NewSyscallError("bpf BPF_LINK_CREATE", err)
	}
	return &bpfIterator{link}, nil
}

// Close unloads the program.
func (i *bpfIterator) Close() error { return unix.Close(i.link) }

// open returns what the program writes, from the start.
func (i *bpfIterator) open() (*os.File, error) {
	fd, err := bpf(unix.BPF_ITER_CREATE, unsafe.Pointer(&struct{ link, flags uint32 }{uint32(i.link), 0}), 8)
	if err != nil {
		return nil, os.NewSyscallError("bpf BPF_ITER_CREATE", err)
	}
	return os.NewFile(uintptr(fd), "bpf iterator"), nil
}

// stream visits what an iterator writes, each a T, until visit returns false. T is
// what its program writes at once, without pointers.
func stream[T any](i *bpfIterator, visit func(*T) bool) error {
	file, err := i.open()
	if err != nil {
		return err
	}
	defer file.Close()
	const atOnce = 32 << 10 // bytes that the kernel returns at most
	size := int(unsafe.Sizeof(*new(T)))
	items := make([]T, (atOnce+size-1)/size+1)
	buffer := unsafe.Slice((*byte)(unsafe.Pointer(&items[0])), len(items)*size)
	filled := 0
	for {
		n, err := file.Read(buffer[filled:])
		filled += n
		for j := range filled / size {
			if !visit(&items[j]) {
				return nil
			}
		}
		filled = copy(buffer, buffer[filled/size*size:filled])
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !errors.Is(err, unix.EAGAIN): // as after a million files that are no sockets
			return fmt.Errorf("read of an iterator: %w", err)
		}
	}
}

// A loadAttr is what BPF_PROG_LOAD takes: the start of union bpf_attr in
// include/uapi/linux/bpf.h.
type loadAttr struct {
	programType, count    uint32
	instructions, license unsafe.Pointer
	logLevel, logSize     uint32
	log                   unsafe.Pointer
	kernelVersion, flags  uint32
	name                  [16]byte
	device, attachType    uint32
	btf, funcInfoSize     uint32
	funcInfo              unsafe.Pointer
	funcInfos, lineSize   uint32
	lineInfo              unsafe.Pointer
	lineInfos, function   uint32
}

// loadProgram loads a program, whose instructions were made with a Finder. It is to be
// attached to a function or tracepoint, which has an id.
func loadProgram(k *kernelfields.Finder, instructions asm.Instructions, attachType, id uint32) (fd int, err error) {
	if strconv.IntSize != 64 {
		return -1, errors.New("a program of 32 bits, which has other pointers than the kernel may have")
	}
	if err := k.Err(); err != nil {
		return -1, err
	}
	var code bytes.Buffer
	order := binary.ByteOrder(binary.BigEndian) // package asm does not know binary.NativeEndian
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		order = binary.LittleEndian
	}
	if err := instructions.Marshal(&code, order); err != nil {
		return -1, err
	}
	license := append([]byte("GPL"), 0) // for the helpers
	attr := loadAttr{
		programType: unix.BPF_PROG_TYPE_TRACING, attachType: attachType, function: id,
		count: uint32(code.Len() / asm.InstructionSize), instructions: unsafe.Pointer(&code.Bytes()[0]),
		license: unsafe.Pointer(&license[0]),
	}
	copy(attr.name[:], "keepalive")
	fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err == nil || err == unix.EPERM {
		return fd, os.NewSyscallError("bpf BPF_PROG_LOAD", err)
	}
	log := make([]byte, 64<<10) // which the kernel may find too short
	attr.logLevel, attr.logSize, attr.log = 1, uint32(len(log)), unsafe.Pointer(&log[0])
	if fd, again := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); again == nil {
		return fd, nil
	}
	return -1, fmt.Errorf("%w: %s", os.NewSyscallError("bpf BPF_PROG_LOAD", err), lastLines(unix.ByteSliceToString(log)))
}

// lastLines returns the end of what the verifier says, which has the reason.
func lastLines(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (fd int, err error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EAGAIN, unix.EINTR: // a signal ended the verifier
			continue
		}
		return -1, errno
	}
}
