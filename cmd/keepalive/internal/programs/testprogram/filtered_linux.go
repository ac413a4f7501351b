package main

import (
	"encoding/binary"
	"flag"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filtered becomes another program, under a seccomp filter that a file holds as
// the kernel has it.
func filtered() error {
	text, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(text)/8)
	if _, err := binary.Decode(text, binary.NativeEndian, filter); err != nil {
		return err
	}
	path, err := exec.LookPath(flag.Arg(1))
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return syscall.Exec(path, flag.Args()[1:], os.Environ())
}
