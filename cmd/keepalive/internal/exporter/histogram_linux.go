package exporter

import (
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// limits are the upper bounds of the buckets, in seconds.
var limits = [...]float64{10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400}

// A histogram is of how long dead peers go unnoticed.
type histogram struct {
	count   uint64
	seconds float64 // without those that go unnoticed for ever, or unknown for how long
	buckets [len(limits)]uint64
}

func (h *histogram) add(u sockets.Unnoticed) {
	h.count++
	if u.Never || !u.Known {
		return
	}
	seconds := max(u.For, u.Armed).Seconds()
	h.seconds += seconds
	for i := len(limits) - 1; i >= 0 && seconds <= limits[i]; i-- {
		h.buckets[i]++
	}
}

func (h *histogram) merge(m *histogram) {
	h.count += m.count
	h.seconds += m.seconds
	for i := range h.buckets {
		h.buckets[i] += m.buckets[i]
	}
}

// cumulative returns the buckets as package prometheus takes them.
func (h *histogram) cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(limits))
	for i, limit := range limits {
		buckets[limit] = h.buckets[i]
	}
	return buckets
}
