package cgroup

import "time"

// LookEvery has Wait take longer where the watch notices nothing, so that a test can
// tell that from a busy machine.
func (w *Watch) LookEvery(d time.Duration) { w.every = d }
