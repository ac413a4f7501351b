package integration_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/yamux"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// A stream of a multiplexed connection on which nothing is said for a while.
func TestYamux(t *testing.T) {
	t.Parallel()
	testStreams(t, serveYamux, func(t *testing.T, address string, d *dialer) (io.ReadWriter, context.Context, func() error) {
		session, alive, err := clients.Yamux(soon(t), address, d.DialContext)
		require.NoError(t, err)
		t.Cleanup(func() { session.Close() })
		stream, err := session.Open()
		require.NoError(t, err)
		return stream, alive, func() error {
			_, err := session.Accept()
			return err
		}
	})
}

// A channel of an SSH connection, as that of a command or a forwarded port.
func TestSSH(t *testing.T) {
	t.Parallel()
	config := &ssh.ClientConfig{User: "replica", HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	testStreams(t, serveSSH, func(t *testing.T, address string, d *dialer) (io.ReadWriter, context.Context, func() error) {
		client, alive, err := clients.SSH(soon(t), address, config, d.DialContext)
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		channel, requests, err := client.OpenChannel("echo", nil)
		require.NoError(t, err)
		go ssh.DiscardRequests(requests)
		return channel, alive, client.Wait
	})
}

// testStreams opens one stream to a server that sends back what it receives.
// ended returns the error that ends the connection.
func testStreams(t *testing.T, serve func(*testing.T, *netlab.Host) (address string),
	open func(*testing.T, string, *dialer) (stream io.ReadWriter, alive context.Context, ended func() error),
) {
	lab := newLab(t)
	address := serve(t, lab.Server)

	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			stream, _, _ := open(t, address, d)
			require.NoError(t, echo(soon(t), stream, "before"))
			return func(ctx context.Context) error { return echo(ctx, stream, "after") }
		})
	})

	// The stream ends as if the server had finished it. The connection tells.
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		var alive context.Context
		var ended func() error
		var stream io.ReadWriter
		d := tuned(lab.Client, policy)
		err := awaitLoss(t, d, func(t *testing.T, d *dialer) func(context.Context) error {
			stream, alive, ended = open(t, address, d)
			require.NoError(t, echo(soon(t), stream, "before"))
			return func(context.Context) error {
				_, err := stream.Read(make([]byte, 1))
				return err
			}
		})
		assert.Equal(t, io.EOF, err)
		theError(t, d, context.Cause(alive))
		theError(t, d, clients.Copy(io.Discard, stream, alive))
		theError(t, d, ended())
	})

	// The end of a stream that is complete is none.
	t.Run("end", func(t *testing.T) {
		t.Parallel()
		stream, alive, _ := open(t, address, tuned(lab.Client, policy))
		_, err := stream.Write([]byte("all of it"))
		require.NoError(t, err)
		require.NoError(t, closeWrite(stream))
		var got bytes.Buffer
		require.NoError(t, within(soon(t), func() error { return clients.Copy(&got, stream, alive) }))
		assert.Equal(t, "all of it", got.String())
	})
}

func closeWrite(stream io.ReadWriter) error {
	if s, ok := stream.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return stream.(io.Closer).Close() // of yamux, whose streams can still be read
}

func echo(ctx context.Context, stream io.ReadWriter, word string) error {
	return within(ctx, func() error {
		if _, err := stream.Write([]byte(word)); err != nil {
			return err
		}
		b := make([]byte, len(word))
		_, err := io.ReadFull(stream, b)
		if err == nil && string(b) != word {
			err = fmt.Errorf("heard %q, want %q", b, word)
		}
		return err
	})
}

func serveYamux(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	go serve(ln, func(conn io.ReadWriteCloser) {
		session, err := yamux.Server(conn, nil)
		if err != nil {
			conn.Close()
			return
		}
		for {
			stream, err := session.Accept()
			if err != nil {
				return
			}
			go echoAll(stream)
		}
	})
	return ln.Addr().String()
}

func serveSSH(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	return serveChannels(t, host, func(channel ssh.Channel, requests <-chan *ssh.Request) {
		go ssh.DiscardRequests(requests)
		echoAll(channel)
	})
}

// serveChannels serves the channels of SSH connections.
func serveChannels(t *testing.T, host *netlab.Host, handle func(ssh.Channel, <-chan *ssh.Request)) (address string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	go serve(ln, func(conn io.ReadWriteCloser) {
		_, channels, requests, err := ssh.NewServerConn(conn.(net.Conn), config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for accepted := range channels {
			channel, requests, err := accepted.Accept()
			if err != nil {
				return
			}
			go handle(channel, requests)
		}
	})
	return ln.Addr().String()
}

func echoAll(stream io.ReadWriteCloser) {
	io.Copy(stream, stream)
	stream.Close()
}
