package plan_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// cluster is an empty one of PostgreSQL, of which every server gets a copy.
type cluster struct {
	bin, data  string
	credential *syscall.Credential
}

// newCluster makes one. PostgreSQL and PgBouncer refuse to run as root.
func newCluster(t *testing.T) cluster {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		netlab.Skip(t, err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	require.NoError(t, err)
	c := cluster{credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if len(found) == 0 {
		found = append(found, netlab.LookPath(t, "initdb"))
	}
	c.bin = filepath.Dir(found[len(found)-1])
	c.data = filepath.Join(c.dir(t), "data")
	out, err := c.as(filepath.Join(c.bin, "initdb"), "--pgdata", c.data, "--auth=trust", "--no-sync", "--locale=C").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(filepath.Join(c.data, "pg_hba.conf"), []byte("local all all trust\nhost all all all trust\n"), 0o600))
	return c
}

// dir makes a folder for that user. Those of t.TempDir are below one that keeps
// others out.
func (c cluster) dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keepalive")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, int(c.credential.Uid), int(c.credential.Gid)); err != nil {
		netlab.Skip(t, fmt.Errorf("PostgreSQL needs a user other than root: %w", err))
	}
	return dir
}

// as prepares a program to run as that user.
func (c cluster) as(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.credential}
	return cmd
}

// serve starts a server on an address of a host and on a socket in the folder
// that it returns.
func (c cluster) serve(t *testing.T, host *netlab.Host, address string, args ...string) (dir string) {
	t.Helper()
	dir = c.dir(t)
	data := filepath.Join(dir, "data")
	out, err := exec.Command("cp", "-a", c.data, data).CombinedOutput()
	require.NoError(t, err, "%s", out)
	run(t, host, c.as(filepath.Join(c.bin, "postgres"), append([]string{"-D", data, "-h", address, "-k", dir, "-F",
		"-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=1MB", "-c", "max_connections=10", "-c", "autovacuum=off"}, args...)...)).
		await(t, "ready to accept connections")
	return dir
}

// notify has the server send something to who listens.
func notify(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command(netlab.LookPath(t, "psql"), "host="+dir+" user=postgres dbname=postgres", "-c", "NOTIFY x").CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// startPsql starts a client that listens and waits for input.
func startPsql(t *testing.T, host *netlab.Host, dsn string) *process {
	t.Helper()
	p := run(t, host, exec.Command(netlab.LookPath(t, "psql"), "user=postgres dbname=postgres sslmode=disable gssencmode=disable "+dsn))
	p.say(t, "LISTEN x;")
	p.await(t, "LISTEN")
	return p
}

// postgres has a server and a client lose each other.
func postgres(t *testing.T, s *scene) []end {
	dir := s.cluster.serve(t, s.Server, s.Server.IPv4, s.plan.arguments(t, "PostgreSQL", "-c")...)
	psql := startPsql(t, s.Client, "host="+s.Server.IPv4+" "+s.plan.settings(t, "libpq")[0])
	return []end{
		{"PostgreSQL", s.Server, 5432, byTimeout, func() { notify(t, dir) }},
		{"libpq", s.Client, 5432, byTimeout, func() { psql.say(t, "SELECT 1;") }},
	}
}

// bouncer starts PgBouncer on an address of a host.
func (s *scene) bouncer(t *testing.T, host *netlab.Host, address, server string) {
	t.Helper()
	path := netlab.LookPath(t, "pgbouncer")
	file := filepath.Join(s.cluster.dir(t), "pgbouncer.ini")
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(`[databases]
postgres = host=%s user=postgres
[pgbouncer]
listen_addr = %s
listen_port = 6432
unix_socket_dir =
auth_type = any
pool_mode = session
%s
`, server, address, strings.Join(s.plan.settings(t, "PgBouncer"), "\n"))), 0o644))
	run(t, host, s.cluster.as(path, file)).await(t, "process up")
}

func bouncerToClients(t *testing.T, s *scene) []end {
	dir := s.cluster.serve(t, s.Server, "")
	s.bouncer(t, s.Server, s.Server.IPv4, dir)
	startPsql(t, s.Client, "port=6432 host="+s.Server.IPv4)
	return []end{{"PgBouncer, to clients", s.Server, 6432, byTimeout, func() { notify(t, dir) }}}
}

func bouncerToServers(t *testing.T, s *scene) []end {
	s.cluster.serve(t, s.Server, s.Server.IPv4)
	s.bouncer(t, s.Client, s.Client.IPv4, s.Server.IPv4)
	psql := startPsql(t, s.Client, "port=6432 host="+s.Client.IPv4)
	return []end{{"PgBouncer, to servers", s.Client, 5432, byTimeout, func() { psql.say(t, "SELECT 1;") }}}
}

func redis(t *testing.T, s *scene) []end {
	setting := strings.Fields("--" + s.plan.settings(t, "Redis")[0])
	cmd := exec.Command(netlab.LookPath(t, "redis-server"), append([]string{"--bind", s.Server.IPv4, "--protected-mode", "no", "--save", ""}, setting...)...)
	cmd.Dir = t.TempDir()
	run(t, s.Server, cmd)
	subscriber := dial(t, s.Client, s.Server.IPv4, 6379)
	write(t, subscriber, "SUBSCRIBE x\r\n")
	readUntil(t, subscriber, ":1\r\n")
	publisher := dial(t, s.Server, s.Server.IPv4, 6379)
	return []end{{"Redis", s.Server, 6379, byRetries, func() { write(t, publisher, "PUBLISH x y\r\n") }}}
}

// mariaDB has a session wait for a lock, so that its server answers when another
// one releases that.
func mariaDB(t *testing.T, s *scene) []end {
	dir := t.TempDir()
	path := filepath.Join(dir, "socket")
	var settings []string
	for _, line := range s.plan.settings(t, "MariaDB") {
		settings = append(settings, "--"+strings.ReplaceAll(line, " ", ""))
	}
	run(t, s.Server, exec.Command(netlab.LookPath(t, "mariadbd"), append([]string{"--no-defaults", "--user=root", "--skip-grant-tables",
		"--skip-name-resolve", "--datadir=" + dir, "--bind-address=" + s.Server.IPv4, "--port=3306", "--socket=" + path,
		"--pid-file=" + filepath.Join(dir, "pid")}, settings...)...)).await(t, "ready for connections")
	client := netlab.LookPath(t, "mariadb")
	local := run(t, s.Server, exec.Command(client, "--no-defaults", "-uroot", "-nNB", "--socket="+path))
	local.say(t, "SELECT concat('locked', GET_LOCK('x', 0));")
	local.await(t, "locked1")
	remote := run(t, s.Client, exec.Command(client, "--no-defaults", "-uroot", "-nNB", "-h"+s.Server.IPv4))
	remote.say(t, "SELECT concat('connected', 1);")
	remote.await(t, "connected1")
	if s.demand.unacked {
		remote.say(t, "SELECT GET_LOCK('x', 600);")
		await(t, "the session waits for the lock", func() bool {
			local.say(t, "SELECT concat('waiting', count(*)) FROM information_schema.processlist WHERE state = 'User lock';")
			return strings.Contains(local.output.String(), "waiting1")
		})
	}
	return []end{{"MariaDB", s.Server, 3306, byRetries, func() { local.say(t, "SELECT RELEASE_LOCK('x');") }}}
}
