package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// quiesce waits until the kernel has freed what earlier connections have left.
// It does so in the background, after a namespace is gone. A busy machine is no
// error, but noise.
func quiesce(ctx context.Context, quiet int64) error {
	deadline := time.Now().Add(5 * time.Second)
	last := int64(-1)
	for time.Now().Before(deadline) {
		slab, err := slab()
		if err != nil {
			return err
		}
		if last >= 0 && slab-last < quiet && last-slab < quiet {
			return nil
		}
		last = slab
		// The kernel sums its counters up once a second.
		if err := sleep(ctx, 1100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// processMemory collects garbage first, and gives it back to the kernel.
func processMemory() (Memory, error) {
	debug.FreeOSMemory()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	rss, err := field("/proc/self/status", "VmRSS:", 1)
	return Memory{
		Heap:  int64(ms.HeapAlloc),
		Stack: int64(ms.StackInuse),
		Held:  int64(ms.HeapInuse + ms.StackInuse),
		RSS:   rss << 10,
	}, err
}

func kernelMemory() (Memory, error) {
	slab, err := slab()
	if err != nil {
		return Memory{}, err
	}
	pages, err := field("/proc/self/net/sockstat", "TCP:", 10)
	return Memory{Slab: slab, Buffer: pages * int64(os.Getpagesize())}, err
}

// slab returns the bytes that the kernel has allocated from its slab allocator,
// from which come sockets and all that belongs to them. Only root may know the
// objects. The pages, which anybody may know, include room that earlier objects
// have left.
func slab() (int64, error) {
	text, err := os.ReadFile("/proc/slabinfo")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		kib, err := field("/proc/meminfo", "Slab:", 1)
		return kib << 10, err
	}
	if err != nil {
		return 0, err
	}
	return slabObjects(string(text))
}

// slabObjects sums up slabinfo(5).
func slabObjects(slabinfo string) (sum int64, err error) {
	for line := range strings.Lines(slabinfo) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "slabinfo - ") || strings.HasPrefix(line, "#") || len(words) < 4 {
			continue
		}
		active, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/slabinfo: %w", err)
		}
		size, err := strconv.ParseInt(words[3], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/slabinfo: %w", err)
		}
		sum += active * size
	}
	return sum, nil
}

// field returns the number at an index, counted from 0, of the line of file
// that begins with word, or of the first line for no word.
func field(file, word string, index int) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > index && (word == "" || words[0] == word) {
			return strconv.ParseInt(words[index], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no field %d of %s", file, index, word)
}

// processTime returns the processor time that this process has used.
func processTime() (time.Duration, error) {
	var ru unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), os.NewSyscallError("getrusage", err)
}

// sampleNow leaves Process to the processes.
func sampleNow() (sample, error) {
	now, err := monotonic()
	if err != nil {
		return sample{}, err
	}
	idle, processors, err := notBusy()
	if err != nil {
		return sample{}, err
	}
	text, err := os.ReadFile("/proc/self/net/netstat")
	if err != nil {
		return sample{}, err
	}
	dropped, err := dropped()
	if err != nil {
		return sample{}, err
	}
	s := sample{Dropped: dropped, Time: now, Busy: now*time.Duration(processors) - idle}
	for name, value := range map[string]*int64{"TCPKeepAlive": &s.Probes, "InNoECTPkts": &s.Packets, "InOctets": &s.Octets} {
		if *value, err = counter(string(text), name); err != nil {
			return sample{}, err
		}
	}
	return s, nil
}

func monotonic() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano()), os.NewSyscallError("clock_gettime", err)
}

// notBusy returns for how long the machine's processors have been idle, or
// taken away by a hypervisor, all together, and how many they are.
//
// The times of work in /proc/stat would not do. Most kernels sample them with
// the clock's tick, and it is that tick which lets keepalive's timers expire:
// they run just after the sample. Idle times are taken with a clock wherever
// the tick stops on idle processors (get_idle_time in fs/proc/stat.c).
func notBusy() (d time.Duration, processors int, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	const idle, iowait, steal = 4, 5, 8
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) <= steal || !strings.HasPrefix(words[0], "cpu") || words[0] == "cpu" {
			continue
		}
		processors++
		for _, i := range []int{idle, iowait, steal} {
			ticks, err := strconv.ParseInt(words[i], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("/proc/stat: %w", err)
			}
			d += time.Duration(ticks) * time.Second / 100 // USER_HZ
		}
	}
	return d, processors, nil
}

// dropped returns how many packets have found the queue of their processor
// full.
func dropped() (int64, error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	var sum int64
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			return 0, fmt.Errorf("/proc/net/softnet_stat has the line %q", line)
		}
		n, err := strconv.ParseUint(words[1], 16, 32)
		if err != nil {
			return 0, fmt.Errorf("/proc/net/softnet_stat: %w", err)
		}
		sum += int64(n)
	}
	return sum, nil
}

// counter returns a counter of /proc/net/netstat, in which a line of names
// stands above one of values.
func counter(netstat, name string) (int64, error) {
	var names []string
	for line := range strings.Lines(netstat) {
		words := strings.Fields(line)
		if names == nil {
			names = words
			continue
		}
		if i := slices.Index(names, name); i >= 0 && i < len(words) {
			return strconv.ParseInt(words[i], 10, 64)
		}
		names = nil
	}
	return 0, fmt.Errorf("/proc/net/netstat has no %s", name)
}
