package integration_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pool finds a dead connection when it next uses it, and takes another one. The
// program gets no error.
func TestPoolLoss(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	mariaDB, _ := startMariaDB(t, lab.Server)
	postgres, _ := startPostgres(t, lab.Server)
	for name, open := range map[string]func(*testing.T, *dialer) (query func(context.Context) error){
		"database/sql, MySQL": func(t *testing.T, d *dialer) func(context.Context) error { return ping(openMySQL(t, mariaDB, d)) },
		"database/sql, lib/pq": func(t *testing.T, d *dialer) func(context.Context) error {
			db, err := clients.PQ(postgres, d.DialContext)
			require.NoError(t, err)
			t.Cleanup(func() { db.Close() })
			return ping(db)
		},
		"pgxpool": func(t *testing.T, d *dialer) func(context.Context) error {
			pool, err := clients.Pgxpool(soon(t), postgres, d.DialContext)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			return func(ctx context.Context) error {
				_, err := pool.Exec(ctx, "SELECT 1")
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := tuned(lab.Client, policy)
			err := awaitLoss(t, d, func(t *testing.T, d *dialer) func(context.Context) error {
				query := open(t, d)
				require.NoError(t, query(soon(t)))
				return func(ctx context.Context) error {
					if err := d.givenUp(ctx); err != nil {
						return err
					}
					return query(ctx)
				}
			})
			assert.NoError(t, err)
			assert.Greater(t, d.count(), 1) // pgx also dials to cancel
		})
	}
}

func ping(db *sql.DB) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "SELECT 1")
		return err
	}
}
