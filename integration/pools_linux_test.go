package integration_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pool of database/sql finds a dead connection when it next uses it, and takes
// another one. The program gets no error.
func TestSQLPoolLoss(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	mariaDB, _ := startMariaDB(t, lab.Server)
	postgres, _ := startPostgres(t, lab.Server)
	for name, open := range map[string]func(d *dialer) (*sql.DB, error){
		"MySQL":  func(d *dialer) (*sql.DB, error) { return clients.MySQL("root@tcp("+mariaDB+")/", d.DialContext) },
		"lib/pq": func(d *dialer) (*sql.DB, error) { return clients.PQ(postgres, d.DialContext) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := tuned(lab.Client, policy)
			retried(t, d, awaitLoss(t, d, func(t *testing.T, d *dialer) func(context.Context) error {
				db, err := open(d)
				require.NoError(t, err)
				t.Cleanup(func() { db.Close() })
				require.NoError(t, one(soon(t), db))
				return func(ctx context.Context) error {
					if err := d.givenUp(ctx); err != nil {
						return err
					}
					assert.Equal(t, 1, db.Stats().OpenConnections, "the pool does not know")
					return one(ctx, db)
				}
			}))
		})
	}
}

func one(ctx context.Context, db *sql.DB) error {
	var n int
	err := db.QueryRowContext(ctx, "SELECT 1").Scan(&n)
	if err == nil && n != 1 {
		err = fmt.Errorf("got %d", n)
	}
	return err
}
