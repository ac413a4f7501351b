package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// backlog is the number of packets that may wait on loopback.
//
// The kernel rounds timers to ticks, by up to 1/8 of their time. What expires at
// one tick stays together from then on: connections that are opened together are
// probed together. All probes of one tick are queued before any is received
// (enqueue_to_backlog in net/core/dev.c), and what exceeds this limit is dropped.
// As soak opens its connections over an Idle, at most 1/8 of them share a tick,
// and more where the machine stalls.
//
// The file does not exist in other network namespaces than the first.
const backlog = "/proc/sys/net/core/netdev_max_backlog"

// raise raises the limit in file to need. restore undoes that. A file that does
// not exist is no error.
func raise(file string, need int) (restore func(), err error) {
	restore = func() {}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return restore, nil
	}
	if err != nil {
		return restore, err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || limit >= need {
		return restore, err
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(need)), 0); err != nil {
		return restore, fmt.Errorf("the limit is %d, want at least %d, or probes are dropped: %w", limit, need, err)
	}
	return func() { os.WriteFile(file, text, 0) }, nil
}
