package cgrouppolicy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// explain says what an error of eBPF comes from, and what to do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("eBPF is refused: %w: %s", errno(err), lacking())
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
	if inUserNamespace() {
		return "it takes rights in the initial user namespace, which root of another one does not have: run keepalive outside of the container or namespace"
	}
	if lacks := lackedCapabilities(); lacks != "" {
		return "it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and this process lacks " + lacks +
			": run it as root, or setcap cap_bpf,cap_net_admin+ep its binary"
	}
	return "this process has the capabilities, so a seccomp filter, such as a container's, is in the way, or a security module, or a program on an outer group that allows no others (bpftool cgroup tree)"
}

// inUserNamespace reports whether this process is outside of the initial user
// namespace, which alone maps every id to itself.
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(text)), []string{"0", "0", "4294967295"})
}

// lackedCapabilities names the capabilities that this process would need besides
// those that it has.
func lackedCapabilities() string {
	var effective [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &effective[0]); err != nil {
		return ""
	}
	has := func(capability int) bool { return effective[capability/32].Effective&(1<<(capability%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return ""
	}
	var lacks []string
	if !has(unix.CAP_BPF) {
		lacks = append(lacks, "CAP_BPF")
	}
	if !has(unix.CAP_NET_ADMIN) {
		lacks = append(lacks, "CAP_NET_ADMIN")
	}
	return strings.Join(lacks, " and ")
}
