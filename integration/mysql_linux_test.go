package integration_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pooled connection that is idle for a while, to MariaDB.
func TestMySQL(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address, server := startMariaDB(t, lab.Server)

	t.Run("pool", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			return sameConnection(t, openMySQL(t, address, d))
		})
	})

	t.Run("server", func(t *testing.T) {
		d := plain(lab.Client)
		db := openMySQL(t, address, d)
		require.NoError(t, db.PingContext(soon(t)))
		assert.Equal(t, systems, heldByServer(t, server, d))

		_, err := db.ExecContext(soon(t), "SET GLOBAL tcp_keepalive_time = 60, tcp_keepalive_interval = 5, tcp_keepalive_probes = 3")
		require.NoError(t, err)
		d = plain(lab.Client)
		require.NoError(t, openMySQL(t, address, d).PingContext(soon(t)))
		want := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
		assert.Equal(t, want, heldByServer(t, server, d))
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			db := openMySQL(t, address, d)
			require.NoError(t, db.PingContext(soon(t)))
			return func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "DO SLEEP(3600)")
				return err
			}
		}, another(mysql.ErrInvalidConn), another(mysql.ErrInvalidConn))
	})

	// The driver calls SetKeepAlive(true) on what it is given, which writes
	// SO_KEEPALIVE and nothing else.
	t.Run("SetKeepAlive", func(t *testing.T) {
		disabled := policy
		disabled.Disable = true
		netDefault := keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9}
		for name, tt := range map[string]struct {
			dialer *dialer
			want   keepalive.Config
		}{
			"net's":    {plain(lab.Client), netDefault},
			"policy":   {tuned(lab.Client, policy), policy},
			"disabled": {tuned(lab.Client, disabled), policy}, // the driver turns it on
		} {
			db := openMySQL(t, address, tt.dialer)
			require.NoError(t, db.PingContext(soon(t)), name)
			assert.Equal(t, tt.want, tt.dialer.held(t), name)
		}
	})

	// Its network is registered for the whole process, so that there is no
	// client without the policy beside it.
	t.Run("RegisterDialContext", func(t *testing.T) {
		t.Parallel()
		d := tuned(lab.Client, policy)
		db, err := clients.MySQLNetwork("root@keepalive("+address+")/", d.DialContext)
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		acrossSilence(t, way{"with keepalive.Dialer", func(t *testing.T) func(context.Context) error { return sameConnection(t, db) }, true})
		assert.Equal(t, policy, d.held(t))
	})
}

// sameConnection asks for the connection's number, which is to stay the same.
func sameConnection(t *testing.T, db *sql.DB) func(context.Context) error {
	t.Helper()
	db.SetMaxOpenConns(1)
	return sameSession(t, func(ctx context.Context) (id int, err error) {
		err = db.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id)
		return id, err
	})
}

func openMySQL(t *testing.T, address string, d *dialer) *sql.DB {
	t.Helper()
	db, err := clients.MySQL("root@tcp("+address+")/", d.DialContext)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// startMariaDB serves an empty folder: without grants there is nothing to install.
func startMariaDB(t *testing.T, host *netlab.Host) (address string, server *os.Process) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(netlab.LookPath(t, "mariadbd"), "--no-defaults", "--user=root", "--skip-grant-tables",
		"--datadir="+dir, "--socket="+filepath.Join(dir, "socket"), "--pid-file="+filepath.Join(dir, "pid"),
		"--bind-address="+host.IPv4, "--port=3306", "--skip-name-resolve")
	startServer(t, host, cmd, "ready for connections", syscall.SIGTERM)
	return host.Address("tcp", 3306), cmd.Process
}
