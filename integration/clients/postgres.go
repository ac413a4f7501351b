package clients

import (
	"context"
	"database/sql"
	"log"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"
	"github.com/seed-7be6acb7/keepalive"
)

// Pgxpool opens a pool.
func Pgxpool(ctx context.Context, dsn string, dial keepalive.DialFunc) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.DialFunc = dial
	return pgxpool.NewWithConfig(ctx, config)
}

// Pgconn opens a single connection, as for logical replication.
func Pgconn(ctx context.Context, dsn string, dial keepalive.DialFunc) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.DialFunc = dial
	return pgconn.ConnectConfig(ctx, config)
}

// pqDialer implements pq.Dialer and pq.DialerContext.
type pqDialer struct{ dial keepalive.DialFunc }

func (d pqDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.dial(ctx, network, address)
}

func (d pqDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.dial(ctx, network, address)
}

func (d pqDialer) Dial(network, address string) (net.Conn, error) {
	return d.dial(context.Background(), network, address)
}

// PQ opens a pool.
func PQ(dsn string, dial keepalive.DialFunc) (*sql.DB, error) {
	connector, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	connector.Dialer(pqDialer{dial})
	return sql.OpenDB(connector), nil
}

// PQListen listens for notifications, and reports a server that was lost.
func PQListen(dsn string, dial keepalive.DialFunc, lost func(error)) *pq.Listener {
	event := func(_ pq.ListenerEventType, err error) {
		switch {
		case keepalive.IsPeerLost(err):
			lost(err) // notifications were missed
		case err != nil:
			log.Print(err)
		}
	}
	return pq.NewDialListener(pqDialer{dial}, dsn, time.Second, time.Minute, event)
}
