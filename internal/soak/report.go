package main

import (
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

// quiet is up to how many processors a machine may keep busy with other things
// for its figures to mean anything.
const quiet = 0.2

// report prints what the trials have measured, in Markdown. off may be nil.
func report(s *cli.Screen, on, off *result) {
	t := table{s, on, off}
	t.head("memory of each connection")
	for _, m := range []struct {
		name  string
		bytes func(Memory) int64
	}{
		{"processes: reachable heap", func(m Memory) int64 { return m.Heap }},
		{"processes: goroutine stacks", func(m Memory) int64 { return m.Stack }},
		{"processes: heap and stacks in use", func(m Memory) int64 { return m.Held }},
		{"processes: RSS", func(m Memory) int64 { return m.RSS }},
		{"kernel: slab", func(m Memory) int64 { return m.Slab }},
		{"kernel: TCP buffers", func(m Memory) int64 { return m.Buffer }},
	} {
		t.row(m.name, "%.1f B", func(r *result) float64 { return float64(m.bytes(r.Memory)) / float64(r.Connections) })
	}
	t.head("each second")
	t.row("probes", "%.1f", func(r *result) float64 { return r.Window.per(float64(r.Window.Probes)) })
	t.row("packets: probes and answers", "%.1f", func(r *result) float64 { return r.Window.per(float64(r.Window.Packets)) })
	t.row("bytes of them, from the IP header on", "%.0f B", func(r *result) float64 { return r.Window.per(float64(r.Window.Octets)) })
	t.row("packets that the machine dropped", "%.1f", func(r *result) float64 { return r.Window.per(float64(r.Window.Dropped)) })
	t.row("processor time of the processes", "%.2f ms", func(r *result) float64 { return r.Window.per(r.Window.Process.Seconds()) * 1e3 })
	t.row("processor time of the machine", "%.2f ms", func(r *result) float64 { return r.Window.per(r.Window.Busy.Seconds()) * 1e3 })
	s.Line("")
	if off == nil {
		return
	}
	s.Line("Measured for %v with keepalive and for %v without.", on.Window.Time.Round(time.Second), off.Window.Time.Round(time.Second))
	if cost := probeCost(on, off); cost > 0 && off.Window.per(off.Window.Busy.Seconds()) < quiet {
		s.Line("A probe and its answer take %v of processor time, at both ends together.", cost.Round(10*time.Nanosecond))
	} else {
		s.Line("What processor time a probe takes is lost in what else the machine does: measure on a quiet one.")
	}
	s.Line("In user memory the module adds %.1f bytes to a connection.", extraUserMemory(on, off))
}

// table compares results. With off it has more columns.
type table struct {
	*cli.Screen
	on, off *result
}

func (t table) head(title string) {
	t.Line("")
	if t.off == nil {
		t.Line("| %s | keepalive |", title)
		t.Line("| :--- | ---: |")
		return
	}
	t.Line("| %s | keepalive | off | difference |", title)
	t.Line("| :--- | ---: | ---: | ---: |")
}

func (t table) row(name, format string, value func(*result) float64) {
	if t.off == nil {
		t.Line("| %s | "+format+" |", name, value(t.on))
		return
	}
	t.Line("| %s | "+format+" | "+format+" | "+format+" |", name, value(t.on), value(t.off), value(t.on)-value(t.off))
}
