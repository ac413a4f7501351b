package integration_test

import (
	"context"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/stretchr/testify/require"
)

// The transport of a leader that has nothing to replicate for a while.
func TestRaft(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	ln := lab.Server.Listen(t, plainListen(), "tcp4", 0)
	follower := clients.Raft(ln, nil)
	t.Cleanup(func() { follower.Close() })
	go answerRaft(t.Context(), follower)
	address := raft.ServerAddress(ln.Addr().String())
	lead := func(t *testing.T, d *dialer) func(ctx context.Context, term uint64) error {
		leader := clients.Raft(lab.Client.Listen(t, plainListen(), "tcp4", 0), d.DialContext)
		t.Cleanup(func() { leader.Close() })
		appendEntries := func(ctx context.Context, term uint64) error {
			return within(ctx, func() error {
				var response raft.AppendEntriesResponse
				return leader.AppendEntries("follower", address, &raft.AppendEntriesRequest{Term: term}, &response)
			})
		}
		require.NoError(t, appendEntries(soon(t), answered))
		return appendEntries
	}

	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			appendEntries := lead(t, d)
			return func(ctx context.Context) error { return appendEntries(ctx, answered) }
		})
	})
	t.Run("loss", func(t *testing.T) {
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			appendEntries := lead(t, d)
			return func(ctx context.Context) error { return appendEntries(ctx, unanswered) }
		}, textOnly, textOnly)
	})
}

// Terms that answerRaft answers or not.
const answered, unanswered = 1, 2

func answerRaft(ctx context.Context, transport *raft.NetworkTransport) {
	for {
		select {
		case rpc := <-transport.Consumer():
			if rpc.Command.(*raft.AppendEntriesRequest).Term == answered {
				rpc.Respond(new(raft.AppendEntriesResponse), nil)
			}
		case <-ctx.Done():
			return
		}
	}
}
