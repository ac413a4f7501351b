package exporter

import (
	"context"
	"time"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// watch counts losses until ctx is done.
func (c *collector) watch(ctx context.Context) {
	if err := c.watchLosses(ctx); ctx.Err() == nil {
		c.mu.Lock()
		c.missing["losses"] = err.Error()
		c.mu.Unlock()
		c.options.log("losses can't be counted: %v", err)
	}
}

func (c *collector) watchLosses(ctx context.Context) error {
	watch, err := sockets.WatchLosses(sockets.RingSize, false)
	if err != nil {
		return err
	}
	defer watch.Close()
	var paths cgroup.Paths
	paths.Walk()
	for {
		batch, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		missed, err := watch.Missed()
		if err != nil {
			return err
		}
		c.count(batch, &paths, missed)
	}
}

// count adds losses.
func (c *collector) count(batch []*sockets.Loss, paths *cgroup.Paths, missed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.missed = missed
	for _, l := range batch {
		command := "" // unknown
		if len(l.Socket.Holders) > 0 {
			command = l.Socket.Holders[0].Command
		}
		p := newProgram(command, paths.Of(l.Cgroup))
		if !c.admit(p, now) {
			p = program{other, other}
		}
		c.losses[loss{p, l.Cause}]++
	}
}
