package cgrouppolicy

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
)

// errTooMany is E2BIG of BPF_LINK_CREATE. The limit is BPF_CGROUP_MAX_PROGS of
// kernel/bpf/cgroup.c, for each kind of program.
var errTooMany = errors.New("64 programs of one kind are attached to the cgroup, and the kernel allows no more: " +
	"end another keepalive attach on it (bpftool cgroup show lists the programs)")

// ErrRefused is that a right is missing for eBPF.
var ErrRefused = errors.New("eBPF is refused")

// explain says what an error of eBPF comes from, and what to do about it.
func explain(err error) error {
	verifier, refused := errors.AsType[*ebpf.VerifierError](err)
	switch {
	case errors.Is(err, errTooMany):
		return fmt.Errorf("eBPF: %w", err)
	case refused && len(verifier.Log) > 0: // its errno is often EACCES
		return fmt.Errorf("eBPF: the verifier of this kernel refuses a program, which is a defect of keepalive: %w", verifier)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w: %s", ErrRefused, errno(err), lacking())
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("eBPF: %w: it takes a kernel with CONFIG_BPF_SYSCALL", errno(err))
	}
	return fmt.Errorf("eBPF: %w: it takes Linux 5.9 with CONFIG_CGROUP_BPF", err)
}

// errno returns the errno in err, without what package ebpf guesses about it.
func errno(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}

// lacking says why eBPF is refused.
func lacking() string {
	self := credentials.Of("self")
	if self.Nested {
		return "it takes rights in the initial user namespace, which root of another one does not have: run keepalive outside of the container or namespace"
	}
	if lacks := lackedCapabilities(self); lacks != "" {
		return "it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and this process lacks " + lacks +
			": run it as root, or setcap cap_bpf,cap_net_admin+ep its binary"
	}
	return "this process has the capabilities, so a seccomp filter, such as a container's, is in the way, or a security module, or a program on an outer group that allows no others (bpftool cgroup tree)"
}

// lackedCapabilities names the capabilities that a process would need besides
// those that it has.
func lackedCapabilities(c credentials.Credentials) string {
	if c.Has(unix.CAP_SYS_ADMIN) {
		return ""
	}
	var lacks []string
	if !c.Has(unix.CAP_BPF) {
		lacks = append(lacks, "CAP_BPF")
	}
	if !c.Has(unix.CAP_NET_ADMIN) {
		lacks = append(lacks, "CAP_NET_ADMIN")
	}
	return strings.Join(lacks, " and ")
}
