package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is a reading of the machine's counters.
type sample struct {
	at         time.Time
	idle       time.Duration // of all processors together
	processors int
	probes     int
}

// window is what happened between two samples, for each second.
type window struct {
	busy   float64 // milliseconds of all processors together
	probes float64
}

func (s sample) since(before sample) window {
	d := s.at.Sub(before.at)
	busy := d*time.Duration(s.processors) - (s.idle - before.idle)
	return window{busy.Seconds() * 1e3 / d.Seconds(), float64(s.probes-before.probes) / d.Seconds()}
}

// idleTime returns how long the processors, all together, were idle or taken
// away by a hypervisor, and how many they are.
//
// The other times of proc_stat(5) do not include keepalive. Most kernels sample
// them with the clock's tick, and the timers of keepalive run just after that
// sample, in the same tick. The idle time is measured with a clock wherever the
// tick stops on idle processors (get_idle_time in fs/proc/stat.c).
func idleTime() (d time.Duration, processors int, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	_, err = fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	if err != nil {
		return 0, 0, fmt.Errorf("/proc/stat: %w", err)
	}
	return time.Duration(idle+iowait+steal) * time.Second / 100, bytes.Count(text, []byte("\ncpu")), nil // USER_HZ is 100
}

// Probes replies how many probes were sent in this network namespace. In netstat
// each line of names is followed by one of values.
func (w *Worker) Probes(_ time.Duration, r *Reply) error {
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		values := strings.Fields(lines[i+1])
		if column := slices.Index(strings.Fields(lines[i]), "TCPKeepAlive"); column >= 0 && column < len(values) {
			r.N, err = strconv.Atoi(values[column])
			return err
		}
	}
	return errors.New("/proc/net/netstat has no TCPKeepAlive")
}
