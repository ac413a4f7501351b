package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A primary that has nothing to replicate, and a client that has nothing to ask.
func TestPostgres(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	dsn, server := startPostgres(t, lab.Server)
	local := connectPostgres(t, dsn, plain(lab.Server))
	_, err := local.Exec(soon(t), `CREATE TABLE journal (entry text); CREATE PUBLICATION journal FOR TABLE journal`).ReadAll()
	require.NoError(t, err)

	t.Run("replication", func(t *testing.T) {
		t.Parallel()
		slots := 0
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			slots++
			r := &replica{
				slot:    fmt.Sprintf("slot%d", slots),
				stream:  connectPostgres(t, dsn+"&replication=database", d),
				primary: connectPostgres(t, dsn, plain(lab.Server)),
			}
			require.NoError(t, r.start(soon(t)))
			require.NoError(t, r.replicate(soon(t), "before the silence"))
			return func(ctx context.Context) error { return r.replicate(ctx, "after the silence") }
		})
	})
	t.Run("pool", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			pool, err := clients.Pgxpool(t.Context(), dsn+"&pool_max_conns=1", d.DialContext)
			require.NoError(t, err)
			t.Cleanup(func() {
				d.close() // pgx would wait 15 s for the firewall to let its farewell pass
				pool.Close()
			})
			session := func(ctx context.Context) (pid int, err error) {
				err = pool.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid)
				return pid, err
			}
			return sameSession(t, session)
		})
	})
	// A client may set the options of both ends.
	t.Run("server", func(t *testing.T) {
		d := plain(lab.Client)
		connectPostgres(t, dsn, d)
		assert.Equal(t, systems, heldByServer(t, server, d))

		d = plain(lab.Client)
		connectPostgres(t, dsn+"&tcp_keepalives_idle=60&tcp_keepalives_interval=5&tcp_keepalives_count=3&tcp_user_timeout=75000", d)
		want := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}
		assert.Equal(t, want, heldByServer(t, server, d))
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		lossesOfPostgres(t, lab.Client, dsn)
	})
}

// What clients make of a server that is lost.
func lossesOfPostgres(t *testing.T, host *netlab.Host, dsn string) {
	const forever = "SELECT pg_sleep(3600)"
	t.Run("pgconn", func(t *testing.T) {
		losesPeer(t, host, func(t *testing.T, d *dialer) func(context.Context) error {
			return connectPostgres(t, dsn, d).WaitForNotification
		}, theError, theError)
	})
	// It takes the error for a deadline, and reads again.
	t.Run("pgconn query", func(t *testing.T) {
		losesPeer(t, host, func(t *testing.T, d *dialer) func(context.Context) error {
			conn := connectPostgres(t, dsn, d)
			return func(ctx context.Context) error {
				_, err := conn.Exec(ctx, forever).ReadAll()
				return err
			}
		}, another(io.ErrUnexpectedEOF), theError)
	})
	t.Run("pgxpool", func(t *testing.T) {
		losesPeer(t, host, func(t *testing.T, d *dialer) func(context.Context) error {
			pool, err := clients.Pgxpool(t.Context(), dsn, d.DialContext)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			require.NoError(t, pool.Ping(soon(t)))
			return func(ctx context.Context) error {
				_, err := pool.Exec(ctx, forever)
				return err
			}
		}, another(io.ErrUnexpectedEOF), theError)
	})
	t.Run("pq", func(t *testing.T) {
		losesPeer(t, host, func(t *testing.T, d *dialer) func(context.Context) error {
			db, err := clients.PQ(dsn, d.DialContext)
			require.NoError(t, err)
			t.Cleanup(func() { db.Close() })
			require.NoError(t, db.PingContext(soon(t)))
			return func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, forever)
				return err
			}
		}, theError, theError)
	})
	t.Run("pq LISTEN", func(t *testing.T) {
		losesPeer(t, host, func(t *testing.T, d *dialer) func(context.Context) error {
			lost := make(chan error, 8)
			listener := clients.PQListen(dsn, d.DialContext, func(err error) { lost <- err })
			t.Cleanup(func() { listener.Close() })
			require.NoError(t, listener.Listen("journal"))
			return func(ctx context.Context) error { return receive(ctx, lost) }
		}, theError, theError)
	})
}

// sameSession asks the server for the session's number, and returns a function
// that asks again and wants the same answer: the connection is not a new one.
func sameSession(t *testing.T, session func(context.Context) (int, error)) func(context.Context) error {
	t.Helper()
	before, err := session(soon(t))
	require.NoError(t, err)
	return func(ctx context.Context) error {
		after, err := session(ctx)
		if err == nil && after != before {
			return errors.New("the client has connected anew")
		}
		return err
	}
}

// startPostgres serves a database cluster of its own, and returns how to reach
// it. PostgreSQL refuses to run as root.
func startPostgres(t *testing.T, host *netlab.Host, args ...string) (dsn string, server *os.Process) {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		netlab.Skip(t, err)
	}
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(account.Gid)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "keepalive") // t.TempDir is below a folder that keeps others out
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, gid); err != nil {
		netlab.Skip(t, fmt.Errorf("PostgreSQL needs a user other than root: %w", err))
	}

	bin := debianPostgres(t)
	as := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return cmd
	}
	data := filepath.Join(dir, "data")
	out, err := as("initdb", "--pgdata", data, "--auth=trust", "--no-sync", "--locale=C").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("host all all all trust\n"), 0o600))

	cmd := as("postgres", append([]string{"-D", data, "-h", host.IPv4, "-k", dir, "-F", "-c", "wal_level=logical",
		"-c", "wal_sender_timeout=0", "-c", "autovacuum=off", "-c", "dynamic_shared_memory_type=mmap"}, args...)...)
	startServer(t, host, cmd, "database system is ready to accept connections", syscall.SIGQUIT)
	return "postgres://postgres@" + host.Address("tcp", 5432) + "/postgres?sslmode=disable", cmd.Process
}

// debianPostgres returns the folder of the newest server that is installed, which
// Debian keeps off the path.
func debianPostgres(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if len(found) == 0 {
		return filepath.Dir(netlab.LookPath(t, "initdb"))
	}
	return filepath.Dir(found[len(found)-1])
}

func connectPostgres(t *testing.T, dsn string, d *dialer) *pgconn.PgConn {
	t.Helper()
	conn, err := clients.Pgconn(soon(t), dsn, d.DialContext)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// replica receives what the primary inserts, and never says a word.
type replica struct {
	slot            string
	stream, primary *pgconn.PgConn
}

// start follows the Streaming Replication Protocol of PostgreSQL's manual.
func (r *replica) start(ctx context.Context) error {
	_, err := r.stream.Exec(ctx, "CREATE_REPLICATION_SLOT "+r.slot+" TEMPORARY LOGICAL pgoutput (SNAPSHOT 'nothing')").ReadAll()
	if err != nil {
		return err
	}
	r.stream.Frontend().SendQuery(&pgproto3.Query{String: "START_REPLICATION SLOT " + r.slot +
		" LOGICAL 0/0 (proto_version '1', publication_names 'journal')"})
	if err := r.stream.Frontend().Flush(); err != nil {
		return err
	}
	message, err := r.stream.ReceiveMessage(ctx)
	if err != nil {
		return err
	}
	if _, ok := message.(*pgproto3.CopyBothResponse); !ok {
		return fmt.Errorf("START_REPLICATION is answered with %#v", message)
	}
	return nil
}

// replicate inserts a row at the primary and waits until it arrives.
func (r *replica) replicate(ctx context.Context, entry string) error {
	entry += " of " + r.slot
	if _, err := r.primary.Exec(ctx, "INSERT INTO journal VALUES ('"+entry+"')").ReadAll(); err != nil {
		return fmt.Errorf("primary: %w", err)
	}
	for {
		message, err := r.stream.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		// XLogData: 'w', three int64, and an Insert message of pgoutput.
		data, ok := message.(*pgproto3.CopyData)
		if ok && data.Data[0] == 'w' && data.Data[25] == 'I' && bytes.Contains(data.Data, []byte(entry)) {
			return nil
		}
	}
}
