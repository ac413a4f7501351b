package clients

import (
	"context"
	"io"

	"github.com/hashicorp/yamux"
	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/crypto/ssh"
)

// Yamux opens a session. The context ends when the server is lost, with the
// error of the connection as its cause.
func Yamux(ctx context.Context, address string, dial keepalive.DialFunc) (*yamux.Session, context.Context, error) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	alive, lost := context.WithCancelCause(context.Background())
	session, err := yamux.Client(keepalive.Watch(conn, lost), nil)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return session, alive, nil
}

// SSH opens a client. The context ends when the server is lost, with the error of
// the connection as its cause.
func SSH(ctx context.Context, address string, config *ssh.ClientConfig, dial keepalive.DialFunc) (*ssh.Client, context.Context, error) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	alive, lost := context.WithCancelCause(context.Background())
	c, channels, requests, err := ssh.NewClientConn(keepalive.Watch(conn, lost), address, config)
	if err != nil { // NewClientConn has closed conn
		return nil, nil, err
	}
	return ssh.NewClient(c, channels, requests), alive, nil
}

// Copy copies a stream until it ends. The end of a stream that was cut off is an
// error.
func Copy(w io.Writer, stream io.Reader, alive context.Context) error {
	_, err := io.Copy(w, stream)
	if lost := context.Cause(alive); lost != nil {
		return lost
	}
	return err
}
