package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Real servers close connections on which their program hears nothing. That hides
// what the path does, but for a firewall that forgets sooner.
func TestPathIdle(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for name, start := range map[string]func(t *testing.T, host *netlab.Host) (address string, closes time.Duration){
		"PostgreSQL": func(t *testing.T, host *netlab.Host) (string, time.Duration) {
			startPostgres(t, host, "-c", "authentication_timeout=5s")
			return host.Address("tcp", 5432), 5 * time.Second
		},
		// It looks for clients that have timed out once a second or so.
		"Redis": func(t *testing.T, host *netlab.Host) (string, time.Duration) {
			address, _ := startRedis(t, host, "--timeout", "5")
			return address, 6 * time.Second
		},
		"nginx":          startNginx(""),
		"nginx deferred": startNginx("deferred"), // accepts with the first byte
		"sshd":           startSSHD,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("no firewall", func(t *testing.T) {
				t.Parallel()
				lab := netlab.NewLab(t, netlab.Rules{})
				address, closes := start(t, lab.Server)
				r := measurePath(t, lab, address)
				assert.Equal(t, pathidle.ServerCloses, r.Verdict)
				assert.InDelta(t, closes.Seconds(), r.After.Seconds(), 2)
				assert.Greater(t, r.Survived, 2*time.Second)
				assert.Less(t, r.Survived, r.After+time.Second, "not all at once")
				assert.Zero(t, r.Lost)
			})
			t.Run("firewall", func(t *testing.T) {
				t.Parallel()
				lab := newLab(t)
				address, _ := start(t, lab.Server)
				r := measurePath(t, lab, address)
				assert.Equal(t, pathidle.Found, r.Verdict)
				const tick = 50 * time.Millisecond // of the kernel's timers, and more
				assert.Less(t, r.Survived, forgets+tick)
				assert.Greater(t, r.Lost, forgets-tick)
				assert.LessOrEqual(t, r.Lost-r.Survived, time.Second)
			})
		})
	}
}

func measurePath(t *testing.T, lab *netlab.Lab, address string) pathidle.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	r, err := pathidle.Measure(ctx, "tcp", address, &pathidle.Options{
		Max:  30 * time.Second,
		Dial: plain(lab.Client).DialContext,
	})
	require.NoError(t, err)
	t.Logf("%v, in %v", r, time.Since(start).Round(time.Millisecond))
	return r
}

func startNginx(listen string) func(*testing.T, *netlab.Host) (string, time.Duration) {
	return func(t *testing.T, host *netlab.Host) (string, time.Duration) {
		t.Helper()
		dir := t.TempDir()
		config := filepath.Join(dir, "nginx.conf")
		require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr notice;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	client_header_timeout 5s;
	server { listen %[2]s:80 %[3]s; }
}
`, dir, host.IPv4, listen), 0o600))
		cmd := exec.Command(netlab.LookPath(t, "nginx"), "-p", dir, "-c", config)
		startServer(t, host, cmd, "getrlimit(RLIMIT_NOFILE)", syscall.SIGTERM)
		return host.Address("tcp", 80), 5 * time.Second
	}
}

func startSSHD(t *testing.T, host *netlab.Host) (string, time.Duration) {
	t.Helper()
	sshd, key := proctest.SSHD(t)
	cmd := exec.Command(sshd, "-D", "-e", "-f", "/dev/null", "-h", key, "-p", "22",
		"-o", "ListenAddress="+host.IPv4, "-o", "LoginGraceTime=5", "-o", "UsePAM=no", "-o", "PidFile=none")
	startServer(t, host, cmd, "Server listening on", syscall.SIGTERM)
	return host.Address("tcp", 22), 5 * time.Second
}
