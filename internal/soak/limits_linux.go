package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// beside is how many descriptors a process needs beside those of
	// connections.
	beside = 200
	// footprint is about what a connection needs, both ends of it, in the
	// kernel and in its process together.
	footprint = 20 << 10
)

// prepare raises the limits that o needs raised, or reports all that is missing
// before anything is opened. What it changes beyond this process restore undoes.
func prepare(o options) (restore func(), err error) {
	_, err = spread(o)
	restore, refused := raiseBacklog(o.connections)
	if err := errors.Join(err, checkFiles(uint64(2*o.connections+beside)), checkMemory(o.connections), refused); err != nil {
		restore()
		return nil, fmt.Errorf("%s connections need more than there is:\n%w", group(o.connections), err)
	}
	return restore, nil
}

// spread returns over how many processes the connections have to be spread,
// since each may open only so many files. It raises that limit where it may, for
// this process and those it starts.
func spread(o options) (processes int, err error) {
	descriptors, err := raiseDescriptors(uint64(2*o.connections + beside))
	if err != nil {
		return 0, err
	}
	each := (int(descriptors) - beside) / 2
	if each < 1 {
		return 0, fmt.Errorf("the hard limit of descriptors is %d, want at least %d: raise it (ulimit -Hn, limits.conf(5), LimitNOFILE=)", descriptors, beside+2)
	}
	processes = (o.connections + each - 1) / each
	if o.processes > 0 && o.processes < processes {
		return 0, fmt.Errorf("the hard limit of descriptors is %d, want %d: raise it (ulimit -Hn, limits.conf(5), LimitNOFILE=), or have -processes %d",
			descriptors, 2*((o.connections+o.processes-1)/o.processes)+beside, processes)
	}
	return max(processes, o.processes), nil
}

// raiseDescriptors raises the limit of descriptors to need. Without the right
// to that it returns what there is.
func raiseDescriptors(need uint64) (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	most, err := field("/proc/sys/fs/nr_open", "", 0)
	if err != nil {
		return 0, err
	}
	raised := unix.Rlimit{Cur: min(need, uint64(most))}
	raised.Max = max(raised.Cur, limit.Max)
	if limit.Cur >= raised.Cur || unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return max(limit.Cur, raised.Cur), nil
	}
	raised.Cur, raised.Max = limit.Max, limit.Max
	return limit.Max, os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &raised))
}

// raiseBacklog makes room for the probes that go out at once.
//
// The kernel rounds timers, by up to 1/8 of their time, to ticks at which many
// expire at once, and from then on they stay together: connections that are
// opened together are probed together. All that the timers of one tick send over
// loopback is queued before any of it is received (enqueue_to_backlog in
// net/core/dev.c), and what exceeds net.core.netdev_max_backlog is lost. Since the
// connections are opened over an Idle, 1/8 of them share a tick at most; a
// machine that stalls meanwhile makes that more.
func raiseBacklog(connections int) (restore func(), err error) {
	const file = "/proc/sys/net/core/netdev_max_backlog"
	restore = func() {}
	need := int64(connections) / 4
	was, err := field(file, "", 0)
	if errors.Is(err, fs.ErrNotExist) {
		return restore, nil // in a namespace already, from which it can't be seen
	}
	if err != nil || was >= need {
		return restore, err
	}
	if err := os.WriteFile(file, []byte(strconv.FormatInt(need, 10)), 0); err != nil {
		return restore, fmt.Errorf("net.core.netdev_max_backlog is %d, want %d, or probes get lost: sysctl -w net.core.netdev_max_backlog=%d (%w)",
			was, need, need, err)
	}
	return func() { os.WriteFile(file, []byte(strconv.FormatInt(was, 10)), 0) }, nil
}

// checkFiles compares the need to the limit of the whole machine, which does
// not count for root (alloc_empty_file in fs/file_table.c).
func checkFiles(need uint64) error {
	if os.Geteuid() == 0 {
		return nil
	}
	open, err := field("/proc/sys/fs/file-nr", "", 0)
	if err != nil {
		return err
	}
	most, err := field("/proc/sys/fs/file-max", "", 0)
	if err != nil || uint64(most) >= uint64(open)+need {
		return err
	}
	return fmt.Errorf("fs.file-max is %d and %d files are open, want room for %d: sysctl -w fs.file-max=%d", most, open, need, uint64(open)+need)
}

func checkMemory(connections int) error {
	kib, err := field("/proc/meminfo", "MemAvailable:", 1)
	if err != nil {
		return err
	}
	if need := int64(connections) * footprint; kib<<10 < need {
		return fmt.Errorf("%d MiB of memory are available, want about %d MiB", kib>>10, need>>20)
	}
	return nil
}
