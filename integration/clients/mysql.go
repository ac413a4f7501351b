package clients

import (
	"context"
	"database/sql"
	"net"

	"github.com/go-sql-driver/mysql"
	"github.com/seed-7be6acb7/keepalive"
)

// MySQL opens a pool.
func MySQL(dsn string, dial keepalive.DialFunc) (*sql.DB, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config.DialFunc = dial
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// MySQLNetwork registers a network for the whole process, and opens a pool with
// it: user:password@keepalive(db.example:3306)/app.
func MySQLNetwork(dsn string, dial keepalive.DialFunc) (*sql.DB, error) {
	mysql.RegisterDialContext("keepalive", func(ctx context.Context, address string) (net.Conn, error) {
		return dial(ctx, "tcp", address)
	})
	return sql.Open("mysql", dsn)
}
