package sockets

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
)

// checkProc returns an error unless dir shows the processes of the caller's PID
// namespace.
func checkProc(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil || int64(stat.Type) != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("%s is not a proc file system, so that no process can be seen: mount one (mount -t proc proc %[1]s)", dir)
	}
	self, _ := os.Readlink(dir + "/self")
	if self != strconv.Itoa(os.Getpid()) || hasOuterID(dir+"/self") {
		return fmt.Errorf("%s shows the processes of another PID namespace: mount its own (mount -t proc proc %[1]s), or enter the other one (nsenter --pid)", dir)
	}
	return nil
}

// hasOuterID reports whether a process has an id in the PID namespace that /proc
// shows and another one in its own: NSpid of proc_pid_status(5).
func hasOuterID(dir string) bool {
	status, _ := os.ReadFile(dir + "/status")
	_, ids, _ := strings.Cut(string(status), "\nNSpid:")
	ids, _, _ = strings.Cut(ids, "\n")
	return len(strings.Fields(ids)) > 1
}

// hiddenProcesses returns why /proc may not show every process of the PID
// namespace, or nil: the option hidepid of proc(5).
func hiddenProcesses(dir string) error {
	mountinfo, err := os.ReadFile(dir + "/self/mountinfo")
	if err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return os.NewSyscallError("stat "+dir, err)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(uint64(stat.Dev)), unix.Minor(uint64(stat.Dev)))
	hidepid, gid := procOptions(string(mountinfo), device)
	self := credentials.Of("self")
	if !hides(hidepid, slices.Contains(groups(), gid), self.Has(unix.CAP_SYS_PTRACE) && !self.Nested) {
		return nil
	}
	return errors.New("/proc may hide processes (hidepid=" + hidepid + "), so it takes CAP_SYS_PTRACE, which root has")
}

// procOptions returns options of the mount of a device.
func procOptions(mountinfo, device string) (hidepid string, gid int) {
	for line := range strings.Lines(mountinfo) {
		mount, super, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		if fields := strings.Fields(mount); len(fields) < 3 || fields[2] != device {
			continue
		}
		_, options, _ := strings.Cut(super, " ")
		_, options, _ = strings.Cut(options, " ")
		for option := range strings.SplitSeq(options, ",") {
			switch key, value, _ := strings.Cut(option, "="); key {
			case "hidepid":
				hidepid = value
			case "gid":
				gid, _ = strconv.Atoi(value)
			}
		}
	}
	return hidepid, gid
}

// hides reports whether processes are invisible. Those of hidepid=1 are not:
// they are refused.
func hides(hidepid string, inGroup, mayTrace bool) bool {
	switch hidepid {
	case "2", "invisible":
		return !inGroup && !mayTrace
	case "4", "ptraceable":
		return !mayTrace
	}
	return false
}

func groups() []int {
	ids, _ := os.Getgroups()
	return append(ids, os.Getegid())
}
