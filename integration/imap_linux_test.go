package integration_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// A client that waits for mail by IDLE.
func TestIMAP(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	s := serveIMAP(t, lab.Server)
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			box := s.newBox(t)
			_, heard := box.idle(t, d)
			hear := func(ctx context.Context, messages uint32) error {
				if err := box.deliver(); err != nil {
					return err
				}
				select {
				case got := <-heard:
					if got != messages {
						return fmt.Errorf("heard of %d messages, want %d", got, messages)
					}
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			require.NoError(t, hear(soon(t), 1))
			return func(ctx context.Context) error { return hear(ctx, 2) }
		})
	})

	// The client closes the connection at once, and then writes the end of IDLE.
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			idle, _ := s.newBox(t).idle(t, d)
			return func(ctx context.Context) error { return within(ctx, idle.Wait) }
		}, another(net.ErrClosed), another(net.ErrClosed))
	})
}

type imapServer struct {
	address string
	memory  *imapmemserver.Server
	boxes   atomic.Int32
}

func serveIMAP(t *testing.T, host *netlab.Host) *imapServer {
	t.Helper()
	s := &imapServer{memory: imapmemserver.New()}
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return s.memory.NewSession(), nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapIMAP4rev2: {}},
		InsecureAuth: true,
		Logger:       log.New(io.Discard, "", 0),
	})
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	t.Cleanup(func() { server.Close() })
	go server.Serve(ln)
	s.address = ln.Addr().String()
	return s
}

// imapBox is the mailbox of a user of its own.
type imapBox struct {
	server *imapServer
	user   *imapmemserver.User
	name   string
}

func (s *imapServer) newBox(t *testing.T) *imapBox {
	t.Helper()
	name := fmt.Sprint("user", s.boxes.Add(1))
	b := &imapBox{s, imapmemserver.NewUser(name, "password"), name}
	require.NoError(t, b.user.Create("INBOX", nil))
	s.memory.AddUser(b.user)
	return b
}

func (b *imapBox) deliver() error {
	_, err := b.user.Append("INBOX", strings.NewReader("Subject: news\r\n\r\n"), new(imap.AppendOptions))
	return err
}

// idle waits for mail. heard is how many messages there are.
func (b *imapBox) idle(t *testing.T, d *dialer) (idle *imapclient.IdleCommand, heard <-chan uint32) {
	t.Helper()
	messages := make(chan uint32, 8)
	client, err := clients.IMAP(soon(t), b.server.address, d.DialContext, &imapclient.Options{
		UnilateralDataHandler: &imapclient.UnilateralDataHandler{Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				messages <- *data.NumMessages
			}
		}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	require.NoError(t, client.Login(b.name, "password").Wait())
	_, err = client.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	idle, err = client.Idle()
	require.NoError(t, err)
	return idle, messages
}
