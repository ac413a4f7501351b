package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// backlog is how many packets may wait on loopback. Only the machine's first
// network namespace has the file.
//
// The kernel rounds timers, by up to 1/8 of their time, so that many expire at
// one tick. They stay together from then on. All probes of a tick are queued
// before any is received (enqueue_to_backlog in net/core/dev.c), and what exceeds
// this limit is dropped. As soak opens its connections over an Idle, at most 1/8
// of them share a tick, and more where the machine stalls.
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
