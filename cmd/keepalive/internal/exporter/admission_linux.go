package exporter

import "time"

// An admission bounds how many values labels take. A value that is in stays in, so
// that its series goes on. Once it was not seen for forgetAfter, another may take its
// place.
type admission[K comparable] struct {
	most int
	seen map[K]time.Time
}

const forgetAfter = time.Hour

func newAdmission[K comparable](most int) *admission[K] {
	return &admission[K]{most: most, seen: make(map[K]time.Time)}
}

// admit reports whether a value is in, and which one had to go for it.
func (a *admission[K]) admit(value K, now time.Time) (in bool, gone []K) {
	if _, ok := a.seen[value]; !ok && len(a.seen) >= a.most {
		for old, last := range a.seen {
			if now.Sub(last) > forgetAfter {
				delete(a.seen, old)
				gone = append(gone, old)
			}
		}
		if len(a.seen) >= a.most {
			return false, gone
		}
	}
	a.seen[value] = now
	return true, gone
}
