// Package clients holds the snippets of docs/clients.md for the clients that the
// tests of this module run against a real server. Package compiled holds the
// others.
package clients

import (
	"context"
	"crypto/tls"
	"database/sql"
	"net"
	"net/http"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/net/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// ContextDialer is a [keepalive.Dialer], or one that dials from a host of the lab.
type ContextDialer = proxy.ContextDialer

// Dialer is the one that docs/clients.md hands to every client.
func Dialer() *keepalive.Dialer {
	d := &keepalive.Dialer{
		NetDialer: &net.Dialer{Timeout: 10 * time.Second},
		Config:    keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return d
}

// PgxPool is database access through pgx.
func PgxPool(ctx context.Context, dsn string, d ContextDialer) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.DialFunc = d.DialContext
	pool, err := pgxpool.NewWithConfig(ctx, config)
	return pool, err
}

// Pgconn is a single connection, for logical replication.
func Pgconn(ctx context.Context, dsn string, d ContextDialer) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.DialFunc = d.DialContext
	conn, err := pgconn.ConnectConfig(ctx, config)
	return conn, err
}

// MySQL registers a network under a name that a DSN then uses: user@name(address)/database.
func MySQL(dsn string, d ContextDialer) (*sql.DB, error) {
	mysql.RegisterDialContext("keepalive", func(ctx context.Context, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	})
	db, err := sql.Open("mysql", dsn) // "user:password@keepalive(db.example:3306)/app"
	return db, err
}

// MySQLConnector touches nothing global.
func MySQLConnector(dsn string, d ContextDialer) (*sql.DB, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config.DialFunc = d.DialContext
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	return db, nil
}

// Redis without TLS.
func Redis(address string, d ContextDialer) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: address, Dialer: d.DialContext})
	return client
}

// RedisTLS is needed since Options.TLSConfig counts in the default dialer alone.
func RedisTLS(address string, tlsConfig *tls.Config, policy keepalive.Config) *redis.Client {
	overTLS := &tls.Dialer{Config: tlsConfig}
	client := redis.NewClient(&redis.Options{Addr: address, Dialer: policy.WrapDial(overTLS.DialContext)})
	return client
}

// HTTP is a client with a pool of its own.
func HTTP(d ContextDialer) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = d.DialContext
	client := &http.Client{Transport: transport}
	return client
}

// HTTPServer serves connections that inherit the policy.
func HTTPServer(ctx context.Context, address string, server *http.Server, policy keepalive.Config) error {
	lc := &keepalive.ListenConfig{Config: policy}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return server.Serve(ln)
}

// GRPC is a client of one server.
func GRPC(target string, d ContextDialer, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	}
	options = append(options, grpc.WithContextDialer(dial))
	cc, err := grpc.NewClient(target, options...)
	return cc, err
}

// GRPCServer serves connections that inherit the policy.
func GRPCServer(ctx context.Context, address string, server *grpc.Server, policy keepalive.Config) error {
	lc := &keepalive.ListenConfig{Config: policy}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return server.Serve(ln)
}

// SOCKS5 connects through a tunnel. The policy is that of the connection to the
// proxy, since there is no other.
func SOCKS5(ctx context.Context, proxyAddress, address string, d proxy.Dialer) (net.Conn, error) {
	socks, err := proxy.SOCKS5("tcp", proxyAddress, nil, d)
	if err != nil {
		return nil, err
	}
	conn, err := socks.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
	return conn, err
}
