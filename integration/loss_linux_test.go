package integration_test

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The end that has a policy notices a dead peer. The other end learns nothing.
func TestOneEndNotices(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	ln := lab.Server.Listen(t, &keepalive.ListenConfig{Config: policy}, "tcp4", 0)
	client, err := plain(lab.Client).Dial("tcp4", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := ln.Accept()
	require.NoError(t, err)
	defer server.Close()

	lab.Block(t)
	server.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = server.Read(make([]byte, 1))
	theError(t, nil, err)
	status, err := keepalive.Stat(client)
	require.NoError(t, err)
	assert.True(t, status.Open)
	assert.False(t, status.Suspect())
}

// brief gives up a silent peer within two seconds, with data in flight or not.
var brief = keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1, UserTimeout: 1500 * time.Millisecond}

// losesPeer has the server fall silent, lets a program wait for it, and checks
// the error that the program gets, without Watch and with it.
func losesPeer(t *testing.T, host *netlab.Host, p program, without, with check) {
	t.Helper()
	t.Run("without Watch", func(t *testing.T) {
		t.Parallel()
		d := tuned(host, policy)
		without(t, d, awaitLoss(t, d, p))
	})
	t.Run("with Watch", func(t *testing.T) {
		t.Parallel()
		d := tuned(host, policy)
		d.lost = make(chan error, 8)
		err := awaitLoss(t, d, p)
		theError(t, d, next(t, d.lost))
		with(t, d, err)
		assert.Empty(t, d.lost, "Watch reports once")
	})
}

func awaitLoss(t *testing.T, d *dialer, p program) error {
	t.Helper()
	await := p(t, d)
	ctx := soon(t)
	ended := make(chan error, 1)
	since := time.Now()
	d.silence(t)
	go func() { ended <- await(ctx) }()
	select {
	case err := <-ended:
		t.Logf("%T %v", err, err)
		tcptest.AssertWithin(t, since, 0, notices(t, brief)+patience)
		return err
	case <-ctx.Done():
		t.Fatal("the program notices no loss")
		return nil
	}
}

// notices returns how long a dead peer goes unnoticed with timers that are late.
func notices(t *testing.T, c keepalive.Config) time.Duration {
	t.Helper()
	d, ok := c.DetectionTime()
	require.True(t, ok)
	return d * 9 / 8
}

// givenUp waits until the kernel has given up the peer of the only connection, as
// of a pooled one that nobody reads.
func (d *dialer) givenUp(ctx context.Context) error {
	d.mu.Lock()
	conn := d.conns[0]
	d.mu.Unlock()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := keepalive.Stat(conn)
		if err != nil || !status.Open {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// silence has the connections that are open receive nothing any more, so that
// their servers look as if they had lost power.
func (d *dialer) silence(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.NotEmpty(t, d.conns)
	for _, conn := range d.conns {
		silenceOther(t, conn)
	}
}

func silenceOther(t *testing.T, conn net.Conn) {
	t.Helper()
	netlab.MustSilence(t, conn.(syscall.Conn))
	require.NoError(t, brief.Apply(conn))
}

// check checks the error that a program gets.
type check = func(t *testing.T, d *dialer, err error)

func theError(t *testing.T, _ *dialer, err error) {
	t.Helper()
	assert.True(t, keepalive.IsPeerLost(err), "%v", err)
}

func textOnly(t *testing.T, _ *dialer, err error) {
	t.Helper()
	assert.False(t, keepalive.IsPeerLost(err), "%v", err)
	assert.ErrorContains(t, err, "connection timed out")
}

func another(want error) check {
	return func(t *testing.T, _ *dialer, err error) {
		t.Helper()
		assert.False(t, keepalive.IsPeerLost(err), "%v", err)
		assert.ErrorIs(t, err, want)
	}
}

// retried is a program that gets no error, since its client tries again on
// another connection.
func retried(t *testing.T, d *dialer, err error) {
	t.Helper()
	assert.NoError(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	assert.Len(t, d.conns, 2)
}
