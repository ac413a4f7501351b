package cgrouppolicy

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/sys/unix"
)

// Check returns an error where eBPF is refused, or can't set an option of the
// policy on this kernel. It needs own, the group of the calling process, and
// leaves nothing attached.
func Check(own *os.File, c keepalive.Config) error {
	options, err := optionsOf(c)
	if err != nil {
		return err
	}
	return check(own, options)
}

func check(own *os.File, options []option) error {
	accepted, err := try(own, options)
	if err != nil {
		return explain(err)
	}
	if accepted < len(options) {
		refused := options[accepted]
		return fmt.Errorf("eBPF can't set %s on this kernel: it needs %s", refused.name, refused.needs)
	}
	return nil
}

// try has eBPF set the options on a socket of this process, up to the first one
// that it can't set, and returns how many it has set. The socket listens for a
// moment on a free port of 127.0.0.1: that, unlike a connection, takes no network
// device.
func try(own *os.File, options []option) (accepted int, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt SO_COOKIE", err)
	}
	result, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return 0, err
	}
	defer result.Close()
	var a Attachment
	if err := a.attach(own, trial(cookie, options, result)); err != nil {
		return 0, err
	}
	defer a.Close()
	if err := listen(fd); err != nil {
		return 0, err
	}
	var tried uint32
	if err := result.Lookup(uint32(0), &tried); err != nil {
		return 0, err
	}
	if tried == 0 {
		return 0, errors.New("the programs on the cgroup of this process do not see its sockets, as before Linux 5.15 where net_cls or net_prio is in use")
	}
	return int(tried) - 1, nil
}

// listen listens on 127.0.0.1 even where that is not up.
func listen(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1); err != nil {
		return os.NewSyscallError("setsockopt IP_FREEBIND", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("listen", unix.Listen(fd, 1))
}

// trial is a program that sets the options on the socket with this cookie when
// that begins to listen, and stores 1 and how many it has set.
func trial(cookie uint64, options []option, result *ebpf.Map) *ebpf.ProgramSpec {
	program := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, sockOpsOp, asm.Word),
		asm.JNE.Imm(asm.R2, listening, "exit"),
		asm.FnGetSocketCookie.Call(),
		asm.LoadImm(asm.R1, int64(cookie), asm.DWord),
		asm.JNE.Reg(asm.R0, asm.R1, "exit"),
		asm.Mov.Imm(asm.R7, 1),
	}
	for _, o := range options {
		program = append(program, o.set()...)
		program = append(program, asm.JNE.Imm(asm.R0, 0, "store"), asm.Add.Imm(asm.R7, 1))
	}
	return sockOps("keepalive_try", append(program,
		asm.StoreImm(asm.RFP, -4, 0, asm.Word).WithSymbol("store"), // the key
		asm.LoadMapPtr(asm.R1, result.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
		asm.StoreMem(asm.R0, 0, asm.R7, asm.Word),
	))
}
