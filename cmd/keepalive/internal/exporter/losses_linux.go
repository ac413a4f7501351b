package exporter

import (
	"context"
	"time"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// watch counts the losses from now on until ctx is done. The caller calls wait then.
func (c *collector) watch(ctx context.Context) (wait func()) {
	losses, err := sockets.WatchLosses(sockets.RingSize, false)
	if err != nil {
		c.failToWatch(err)
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer losses.Close()
		if err := c.countLosses(ctx, losses); ctx.Err() == nil {
			c.failToWatch(err)
		}
	}()
	return func() { <-ended }
}

func (c *collector) failToWatch(err error) {
	c.mu.Lock()
	c.missing["losses"] = err.Error()
	c.mu.Unlock()
	c.options.log("losses can't be counted: %v", err)
}

func (c *collector) countLosses(ctx context.Context, losses *sockets.Losses) error {
	var paths cgroup.Paths
	paths.Walk()
	for {
		batch, err := losses.Next(ctx)
		if err != nil {
			return err
		}
		missed, err := losses.Missed()
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
