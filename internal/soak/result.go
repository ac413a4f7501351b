package main

import (
	"fmt"
	"math"
	"time"
)

// result is what a trial has measured.
type result struct {
	Connections int
	Processes   int
	Memory      Memory // of all connections
	Window      sample // while they were idle
}

// Memory is in bytes.
type Memory struct {
	Heap   int64 // of processes: what is reachable
	Stack  int64 // of goroutines
	Held   int64 // HeapInuse + StackInuse: with what is lost to size classes
	RSS    int64 // of processes
	Slab   int64 // of the kernel: sockets, descriptors, inodes
	Buffer int64 // of the kernel: segments of TCP
}

func (m Memory) plus(n Memory) Memory {
	return Memory{m.Heap + n.Heap, m.Stack + n.Stack, m.Held + n.Held, m.RSS + n.RSS, m.Slab + n.Slab, m.Buffer + n.Buffer}
}

func (m Memory) minus(n Memory) Memory {
	return Memory{m.Heap - n.Heap, m.Stack - n.Stack, m.Held - n.Held, m.RSS - n.RSS, m.Slab - n.Slab, m.Buffer - n.Buffer}
}

// sample is what grows with time.
type sample struct {
	Time    time.Duration
	Process time.Duration // processor time of the processes that have the connections
	Busy    time.Duration // time for which the machine's processors were not idle, all together
	Probes  int64         // TcpExt TCPKeepAlive
	Packets int64         // IpExt InNoECTPkts
	Octets  int64         // IpExt InOctets, of whole IP packets
	Dropped int64         // packets that found no room in the machine's queues
}

func (s sample) minus(t sample) sample {
	return sample{s.Time - t.Time, s.Process - t.Process, s.Busy - t.Busy, s.Probes - t.Probes, s.Packets - t.Packets, s.Octets - t.Octets, s.Dropped - t.Dropped}
}

// per returns n for each second of s.
func (s sample) per(n float64) float64 { return n / s.Time.Seconds() }

// extraUserMemory returns what on needs more than off for each connection.
func extraUserMemory(on, off *result) float64 {
	return float64(on.Memory.Heap+on.Memory.Stack)/float64(on.Connections) -
		float64(off.Memory.Heap+off.Memory.Stack)/float64(off.Connections)
}

// probeCost returns the processor time of a probe and its answer.
func probeCost(on, off *result) time.Duration {
	extra := on.Window.per(on.Window.Busy.Seconds()) - off.Window.per(off.Window.Busy.Seconds())
	return time.Duration(extra / on.Window.per(float64(on.Window.Probes)) * float64(time.Second))
}

// check reports what the measures should not be.
func check(on, off *result) error {
	if on.Window.Probes == 0 {
		return fmt.Errorf("the kernel counts no probe within %v", on.Window.Time)
	}
	if off == nil {
		return nil
	}
	if off.Window.Probes != 0 {
		return fmt.Errorf("the kernel counts %d probes with keepalive off", off.Window.Probes)
	}
	if extra := extraUserMemory(on, off); math.Abs(extra) >= pointer+float64(noise*on.Processes)/float64(on.Connections) {
		return fmt.Errorf("user memory differs by %.1f bytes for each connection, want 0", extra)
	}
	return nil
}

const (
	// pointer is the least that a library could keep of a connection.
	pointer = 8
	// noise is by how much the Go runtime's own memory differs between two
	// processes, in bytes: spans of stacks that each processor keeps in hand.
	noise = 128 << 10
)
