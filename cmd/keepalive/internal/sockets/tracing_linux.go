package sockets

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
)

// mayTrace returns an error that says which right a program of eBPF that looks into
// the kernel lacks.
func mayTrace() error {
	self := credentials.Of("self")
	var lacks []string
	for _, c := range []struct {
		number int
		name   string
	}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		if !self.Has(c.number) && !self.Has(unix.CAP_SYS_ADMIN) {
			lacks = append(lacks, c.name)
		}
	}
	switch {
	case len(lacks) > 0:
		return fmt.Errorf("it takes CAP_BPF and CAP_PERFMON, which root has, and this process lacks %s (%w)", strings.Join(lacks, " and "), unix.EPERM)
	case self.Nested:
		return fmt.Errorf("it takes CAP_BPF and CAP_PERFMON in the initial user namespace, and this process is in another one (%w)", unix.EPERM)
	}
	return nil
}

// explainTracing says what an error of loading or attaching such a program comes from.
func explainTracing(err error) error {
	switch {
	case errors.Is(err, unix.EPERM): // and not EACCES, by which the verifier refuses
		return fmt.Errorf("%w: this process has the capabilities, so a seccomp filter, such as a container's, or a security module is in the way", err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: it takes a kernel with CONFIG_BPF_SYSCALL", err)
	}
	return fmt.Errorf("%w: it takes Linux 5.14 with type information (CONFIG_DEBUG_INFO_BTF), and this is Linux %s", err, release())
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(name.Release[:])
}
