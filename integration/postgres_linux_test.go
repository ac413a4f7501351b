package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/require"
)

// A primary that has nothing to replicate, and a client that has nothing to ask.
func TestPostgres(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	dsn := startPostgres(t, lab.Server)
	local := connectPostgres(t, dsn, plain(lab.Server))
	_, err := local.Exec(t.Context(), `CREATE TABLE journal (entry text); CREATE PUBLICATION journal FOR TABLE journal`).ReadAll()
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
			require.NoError(t, r.start(t.Context()))
			require.NoError(t, r.replicate(t.Context(), "before the silence"))
			return func(ctx context.Context) error { return r.replicate(ctx, "after the silence") }
		})
	})
	t.Run("pool", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			pool, err := clients.PgxPool(t.Context(), dsn+"&pool_max_conns=1", d)
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
}

// sameSession asks the server for the session's number, and returns a function
// that asks again and wants the same answer: the connection is not a new one.
func sameSession(t *testing.T, session func(context.Context) (int, error)) func(context.Context) error {
	t.Helper()
	before, err := session(t.Context())
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
func startPostgres(t *testing.T, host *netlab.Host, args ...string) (dsn string) {
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
	return "postgres://postgres@" + host.Address("tcp", 5432) + "/postgres?sslmode=disable"
}

// debianPostgres returns the folder of the newest server that is installed, which
// Debian keeps off the path.
func debianPostgres(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if len(found) == 0 {
		return filepath.Dir(find(t, "initdb"))
	}
	return filepath.Dir(found[len(found)-1])
}

func connectPostgres(t *testing.T, dsn string, d *dialer) *pgconn.PgConn {
	t.Helper()
	conn, err := clients.Pgconn(t.Context(), dsn, d)
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
