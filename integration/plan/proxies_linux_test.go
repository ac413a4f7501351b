package plan_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// The ports of a proxy on the server: one whose client is on the other network,
// and one whose upstream is.
const (
	farClient   = 8080
	farUpstream = 8081
	nearBackend = 7000
	farBackend  = 7001
)

// proxied connects across both ports of a proxy, and returns functions that send
// more to the far client and to the far upstream. A request is answered, if at
// all, once it has arrived.
func (s *scene) proxied(t *testing.T, request, posted, answer string, start func()) (toClient, toUpstream func()) {
	t.Helper()
	near, far := listen(t, s.Server, nearBackend), listen(t, s.Client, farBackend)
	start()
	client := dial(t, s.Client, s.Server.IPv4, farClient)
	write(t, client, request)
	backend := near(request[len(request)-1:])
	write(t, backend, answer)
	readUntil(t, client, answer[len(answer)-1:])

	local := dial(t, s.Server, s.Server.IPv4, farUpstream)
	write(t, local, posted)
	far(posted[len(posted)-1:])
	return func() { write(t, backend, "more") }, func() { write(t, local, "more") }
}

// nginx has no setting for upstreams but to take the sysctls.
func nginx(t *testing.T, s *scene) []end {
	for _, line := range s.plan.settings(t, "sysctl.d") {
		name, value, _ := strings.Cut(line, " = ")
		s.Server.Sysctl(t, name, value)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	listening := strings.Replace(s.plan.settings(t, "nginx")[0], "443", fmt.Sprintf("%s:%d", s.Server.IPv4, farClient), 1)
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`daemon off;
user root;
pid %[1]s/pid;
worker_processes 1;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	proxy_buffering off;
	proxy_request_buffering off;
	proxy_http_version 1.1;
	client_body_timeout 1h; send_timeout 1h; proxy_read_timeout 1h; proxy_send_timeout 1h;
	server {
		%[2]s
		location / { proxy_pass http://%[3]s:%[4]d; }
	}
	server {
		listen %[3]s:%[5]d;
		location / { proxy_pass http://%[6]s:%[7]d; proxy_socket_keepalive on; }
	}
}
`, dir, listening, s.Server.IPv4, nearBackend, farUpstream, s.Client.IPv4, farBackend)), 0o644))
	path := netlab.LookPath(t, "nginx")
	toClient, toUpstream := s.proxied(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n!",
		"HTTP/1.1 200 OK\r\n\r\n!", func() { run(t, s.Server, exec.Command(path, "-c", config, "-p", dir)) })
	return []end{
		{"nginx, to clients", s.Server, farClient, byRetries, toClient},
		{"nginx, to upstreams", s.Server, farBackend, byRetries, toUpstream},
	}
}

// nginx takes so_keepalive in one listen of an address.
func TestNginxListensOnce(t *testing.T) {
	t.Parallel()
	path := netlab.LookPath(t, "nginx")
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	try := func(second string) (string, error) {
		text := fmt.Sprintf("pid %s/pid; error_log stderr; events {} http { access_log off; %s\n", dir, "server { listen 127.0.0.1:8443 so_keepalive=30s:3s:3; }") +
			"server { listen 127.0.0.1:8443" + second + "; server_name other; } }"
		require.NoError(t, os.WriteFile(config, []byte(text), 0o644))
		out, err := exec.Command(path, "-t", "-c", config, "-p", dir).CombinedOutput()
		return string(out), err
	}
	out, err := try("")
	require.NoError(t, err, out)
	out, err = try(" so_keepalive=30s:3s:3")
	require.Error(t, err)
	require.Contains(t, out, "duplicate listen options")
}

// HAProxy takes the lines of both sides in defaults, and ignores those of the other
// side in a frontend.
func TestHAProxySections(t *testing.T) {
	t.Parallel()
	path := netlab.LookPath(t, "haproxy")
	p := plans(t)[demands[0]]
	require.Contains(t, p["HAProxy"], "# in defaults or listen: a frontend ignores srvtcpka")
	settings := strings.Join(p.settings(t, "HAProxy"), "\n\t")
	check := func(defaults, frontend string) string {
		config := filepath.Join(t.TempDir(), "haproxy.cfg")
		require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`defaults
	mode tcp
	timeout connect 1s
	timeout client 1s
	timeout server 1s
	%s
frontend x
	bind 127.0.0.1:8080
	default_backend y
	%s
backend y
	server z 127.0.0.1:7000
`, defaults, frontend)), 0o644))
		out, err := exec.Command(path, "-c", "-f", config).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.NotContains(t, check(settings, ""), "ignored")
	require.Contains(t, check("", settings), "'srvtcpka' ignored")
}

func haproxy(t *testing.T, s *scene) []end {
	timeout := s.plan.comment("HAProxy", "# and on each bind and server line: ")
	require.Equal(t, s.demand.unacked, timeout != "")
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`defaults
	mode tcp
	timeout connect 10s
	timeout client 1h
	timeout server 1h
	%[1]s
listen clients
	bind %[2]s:%[3]d %[4]s
	server backend %[2]s:%[5]d %[4]s
listen servers
	bind %[2]s:%[6]d %[4]s
	server backend %[7]s:%[8]d %[4]s
`, strings.Join(s.plan.settings(t, "HAProxy"), "\n\t"), s.Server.IPv4, farClient, timeout, nearBackend, farUpstream, s.Client.IPv4, farBackend)), 0o644))
	path := netlab.LookPath(t, "haproxy")
	toClient, toServer := s.proxied(t, "request", "request", "answer", func() { run(t, s.Server, exec.Command(path, "-db", "-f", config)) })
	return []end{
		{"HAProxy, to clients", s.Server, farClient, byTimeout, toClient},
		{"HAProxy, to servers", s.Server, farBackend, byTimeout, toServer},
	}
}
