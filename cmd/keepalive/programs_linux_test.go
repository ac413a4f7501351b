package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/stretchr/testify/require"
)

// startNginx starts it with directives for one server.
func startNginx(t testing.TB, directives string) *exec.Cmd {
	t.Helper()
	path := netlab.LookPath(t, "nginx")
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`daemon off;
user root;
pid %[1]s/pid;
worker_processes 2;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server { %[2]s }
}
`, dir, directives)), 0o644))
	cmd := exec.Command(path, "-c", config, "-p", dir)
	out := start(t, cmd)
	awaitThat(t, func() bool { return len(list(t, "--pid", pid(cmd), "--listen")) > 0 }, "%v", out)
	return cmd
}

func startSSHD(t testing.TB) *exec.Cmd {
	t.Helper()
	path, key := proctest.SSHD(t)
	cmd := exec.Command(path, "-D", "-e", "-f", "/dev/null", "-h", key, "-o", "ListenAddress=127.0.0.1:2222",
		"-o", "PidFile=none", "-o", "UsePAM=no")
	start(t, cmd)
	return cmd
}

// startPostgres serves an empty cluster. PostgreSQL refuses to run as root.
func startPostgres(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	require.NoError(t, err)
	if len(found) == 0 {
		found = append(found, netlab.LookPath(t, "initdb"))
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, credential := dirOf(t, "postgres")
	as := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return cmd
	}
	data := filepath.Join(dir, "data")
	out, err := as("initdb", "--pgdata", data, "--auth=trust", "--no-sync", "--locale=C").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := as("postgres", append([]string{"-D", data, "-h", "127.0.0.1", "-k", dir, "-F", "-c", "dynamic_shared_memory_type=mmap"}, args...)...)
	start(t, cmd).await(t, "ready to accept connections")
	return cmd
}

// startPsql starts a client that waits for input.
func startPsql(t testing.TB, keywords string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(netlab.LookPath(t, "psql"), "host=127.0.0.1 user=postgres dbname=postgres "+keywords)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { stdin.Close() })
	out := start(t, cmd)
	_, err = stdin.Write([]byte("LISTEN x;\n"))
	require.NoError(t, err)
	out.await(t, "LISTEN")
	return cmd
}

func startMariaDB(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, dir := netlab.LookPath(t, "mariadbd"), t.TempDir()
	cmd := exec.Command(path, append([]string{"--no-defaults", "--user=root", "--skip-grant-tables", "--skip-name-resolve", "--connect-timeout=600",
		"--datadir=" + dir, "--bind-address=127.0.0.1", "--port=3306", "--socket=" + filepath.Join(dir, "socket"),
		"--pid-file=" + filepath.Join(dir, "pid")}, args...)...)
	start(t, cmd).await(t, "ready for connections")
	return cmd
}

// dirOf makes a folder that belongs to a user. Those of t.TempDir are below one
// that keeps others out.
func dirOf(t testing.TB, name string) (dir string, credential *syscall.Credential) {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		netlab.Skip(t, err)
	}
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(account.Gid)
	require.NoError(t, err)
	dir, err = os.MkdirTemp("", "keepalive")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, gid); err != nil {
		netlab.Skip(t, err)
	}
	return dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
