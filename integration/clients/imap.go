package clients

import (
	"context"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/seed-7be6acb7/keepalive"
)

// IMAP opens a client without TLS.
func IMAP(ctx context.Context, address string, dial keepalive.DialFunc, options *imapclient.Options) (*imapclient.Client, error) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return imapclient.New(conn, options), nil
}
