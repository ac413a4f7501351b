package sockets

import (
	"cmp"
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// walkEvery is the shortest time from one walk through all descriptors to the
	// next.
	walkEvery = 100 * time.Millisecond
	// closingTakes is more than passes between the moment in which a descriptor is
	// gone and that in which the socket is closed.
	closingTakes = 50 * time.Millisecond
)

// A lossBatch is losses whose processes are found out together.
type lossBatch struct {
	losses []*Loss
	open   map[uint64]*Loss // by cookie, those whose process is not known
}

// Next returns losses once there are some, in the order in which the kernel gave the
// peers up. Their Holders are the processes that hold the socket, or the one that has
// closed it since, with -1 for the descriptor. A child may be listed in its place, since
// it holds a copy between fork and exec. There are none where no process has accepted the
// connection yet, or where the process can't be found out. Next returns the error of
// ctx once that is done and no loss is left.
func (l *Losses) Next(ctx context.Context) ([]*Loss, error) {
	b := l.next
	if b == nil {
		b = newLossBatch()
	}
	l.next = newLossBatch()
	for len(b.losses) == 0 {
		if err := l.await(ctx, b); err != nil {
			return nil, err
		}
	}
	l.gather(time.Until(l.walked.Add(walkEvery)), b.add, nil)
	l.walked = time.Now()
	l.holders.find(b.losses)
	for cookie, loss := range b.open {
		if len(loss.Socket.Holders) > 0 || loss.inode == 0 {
			delete(b.open, cookie)
		}
	}
	// What is lost meanwhile takes another walk.
	l.gather(closingTakes, func(event lossEvent) {
		if event.loss != nil || !b.close(event.closing) {
			l.next.add(event)
		}
	}, func() bool { return len(b.open) == 0 })
	return b.losses, nil
}

// await adds an event, once there is one.
func (l *Losses) await(ctx context.Context, b *lossBatch) error {
	select { // what is there goes before the end of ctx
	case event, ok := <-l.events:
		return l.add(b, event, ok)
	default:
	}
	select {
	case event, ok := <-l.events:
		return l.add(b, event, ok)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Losses) add(b *lossBatch, event lossEvent, ok bool) error {
	if !ok {
		return cmp.Or(l.failed, os.ErrClosed)
	}
	b.add(event)
	return nil
}

// gather adds what is there and what comes for a time, or until enough.
func (l *Losses) gather(wait time.Duration, add func(lossEvent), enough func() bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for enough == nil || !enough() {
		select {
		case event, ok := <-l.events:
			if !ok {
				return // the next await says so
			}
			add(event)
		case <-timer.C:
			return
		}
	}
}

func newLossBatch() *lossBatch { return &lossBatch{open: make(map[uint64]*Loss)} }

func (b *lossBatch) add(event lossEvent) {
	if event.loss == nil {
		b.close(event.closing)
		return
	}
	b.losses = append(b.losses, event.loss)
	b.open[event.loss.Socket.Cookie] = event.loss
}

// close takes the process that has closed a connection for its holder, unless that is
// known or the connection is in another batch.
func (b *lossBatch) close(c *closing) bool {
	loss := b.open[c.cookie]
	if loss == nil {
		return false
	}
	loss.Socket.Holders = []Holder{{newProcess(int(c.pid), unix.ByteSliceToString(c.comm[:])), -1}}
	delete(b.open, c.cookie)
	return true
}
