package plan_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/stretchr/testify/require"
)

// openSSH has a server and a client lose each other. The session prints what comes
// out of a pipe.
func openSSH(t *testing.T, s *scene) []end {
	server, key := proctest.SSHD(t)
	client, dir := netlab.LookPath(t, "ssh"), t.TempDir()
	config := func(name, program string, lines ...string) string {
		file := filepath.Join(dir, name)
		lines = append(s.plan.settings(t, program), lines...)
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		return file
	}
	run(t, s.Server, exec.Command(server, "-D", "-e", "-f", config("sshd_config", "sshd", "ListenAddress "+s.Server.IPv4+":2222",
		"HostKey "+key, "AuthorizedKeysFile "+key+".pub", "StrictModes no", "UsePAM no", "PidFile none", "PermitRootLogin yes"))).
		await(t, "listening on")
	pipe := makePipe(t)
	session := run(t, s.Client, exec.Command(client, "-F", config("ssh_config", "ssh", "Port 2222", "User root", "IdentityFile "+key,
		"IdentitiesOnly yes", "BatchMode yes", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"),
		s.Server.IPv4, "echo connected; cat "+pipe))
	session.await(t, "connected")
	return []end{
		{"sshd", s.Server, 2222, byQuestions, feeder(t, pipe)},
		{"ssh", s.Client, 2222, byQuestions, func() { session.say(t, "more") }},
	}
}

// systemd runs the socket of a unit in namespaces of its own: a manager of a user,
// which takes the same units.
func systemd(t *testing.T, s *scene) []end {
	const path = "/lib/systemd/systemd"
	if _, err := os.Stat(path); err != nil {
		netlab.Skip(t, err)
	}
	dir, pipe := t.TempDir(), makePipe(t)
	unit := func(name string, lines ...string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	}
	const alone = "[Unit]\nDefaultDependencies=no\n" // the machine's units are not here
	unit("x.socket", append([]string{alone, "[Socket]", "ListenStream=" + s.Server.IPv4 + ":7000", "Accept=yes"}, s.plan.settings(t, "systemd .socket")...)...)
	unit("x@.service", alone, "[Service]", "ExecStart=/bin/cat "+pipe, "StandardInput=socket")
	group := fmt.Sprintf("keepalive-%d-%d-%v", os.Getpid(), s.demand.detect/time.Second, s.demand.unacked)
	t.Cleanup(func() { removeGroup(t, group) }) // after run has killed it
	run(t, s.Server, exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c", fmt.Sprintf(`
mount -t cgroup2 none /sys/fs/cgroup
mkdir /sys/fs/cgroup/%[1]s
echo 0 >/sys/fs/cgroup/%[1]s/cgroup.procs
exec unshare --cgroup --mount sh -e -c '
	umount /sys/fs/cgroup
	mount -t cgroup2 none /sys/fs/cgroup
	mount -t tmpfs none /run
	mount -t proc none /proc
	mkdir -p /run/systemd/system /run/user
	XDG_RUNTIME_DIR=/run/user SYSTEMD_UNIT_PATH=%[2]s %[3]s --user --unit=x.socket --log-target=console'`, group, dir, path)))
	dial(t, s.Client, s.Server.IPv4, 7000)
	return []end{{"systemd .socket", s.Server, 7000, byRetries, feeder(t, pipe)}}
}

// removeGroup removes a group whose processes are about to end.
func removeGroup(t *testing.T, name string) {
	t.Helper()
	await(t, "the group of systemd is empty", func() bool {
		return exec.Command("unshare", "--mount", "sh", "-e", "-c",
			"mount -t cgroup2 none /sys/fs/cgroup; cd /sys/fs/cgroup; [ ! -d "+name+" ] || find "+name+" -depth -type d -exec rmdir {} +").Run() == nil
	})
}

// makePipe makes a named pipe.
func makePipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	t.Cleanup(func() { // ends who reads it
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			f.Close()
		}
	})
	return path
}

// feeder waits until somebody reads the pipe, and returns a function that writes
// to it.
func feeder(t *testing.T, pipe string) func() {
	t.Helper()
	var f *os.File
	await(t, "somebody reads "+pipe, func() bool {
		var err error
		f, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err == nil
	})
	t.Cleanup(func() { f.Close() })
	return func() {
		_, err := f.WriteString("more\n")
		require.NoError(t, err)
	}
}
