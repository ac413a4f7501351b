package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// held returns what the connections of a group hold, as idle/interval/count.
func (m *machine) held(t testing.TB, group string) (held []string) {
	t.Helper()
	out, err := command(t, "ls", "--json", "--cgroup", filepath.Join(m.top.DirectoryName(), group)).Output()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		var s struct {
			State          string
			KeepAlive      bool
			Idle, Interval float64
			Count          int
		}
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		if s.State == "established" {
			held = append(held, fmt.Sprintf("%v %v/%v/%v", s.KeepAlive, s.Idle, s.Interval, s.Count))
		}
	}
	return held
}

// awaitHeld waits until a group has connections, and all of them hold a policy: those
// that a new group opens before it is known hold it soon afterwards.
func (m *machine) awaitHeld(t testing.TB, group, want string) {
	t.Helper()
	await(t, func() bool {
		held := m.held(t, group)
		return len(held) > 0 && !slices.ContainsFunc(held, func(h string) bool { return h != want })
	})
}

// Programs hold the rules of their groups, whatever they set themselves, and also when
// their service has restarted.
func TestApplyPrograms(t *testing.T) {
	t.Parallel()
	redis, nginx := netlab.LookPath(t, "redis-server"), netlab.LookPath(t, "nginx")
	pg := newPostgres(t)
	m := newMachine(t)
	lab := netlab.NewLab(t, netlab.Rules{})
	m.write(t,
		"{remote: ':5432', policy: 'idle=60s,interval=5s,count=3'}",
		"{local: ':5432', policy: 'idle=60s,interval=5s,count=3'}",
		"{cgroup: /redis, mode: tighten, policy: 'idle=10m,interval=20s,count=3'}", // it sets 300/100/3
		"{cgroup: /nginx, policy: 'idle=61s,interval=7s,count=4'}")
	j := m.apply(t)

	pg.serveIn(t, lab.Server, m.group(t, "primary"))
	replica := filepath.Join(pg.dir, "replica")
	runOn(t, lab.Server, pg.account, pg.path("pg_basebackup"), "-D", replica, "-h", pg.dir, "--no-sync", "-c", "fast", "-R")
	p := startReplicaIn(t, lab.Client, m.group(t, "replica"), pg, nil, replica, "host="+lab.Server.IPv4+" user=postgres")
	require.True(t, says(&p.stderr, "started streaming WAL", 3*time.Minute), p.stderr.String())
	m.awaitHeld(t, "primary", "true 60/5/3")
	m.awaitHeld(t, "replica", "true 60/5/3")

	config := filepath.Join(t.TempDir(), "nginx.conf")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf("daemon off; user root; pid %s.pid; error_log stderr;\nevents {}\nhttp { access_log off; server { listen %s:80 so_keepalive=off; } }\n", config, lab.Server.IPv4)), 0o600))
	startOnIn(t, lab.Server, m.group(t, "nginx"), nil, nil, nginx, "-c", config)
	dialOn(t, lab, 80)
	m.awaitHeld(t, "nginx", "true 61/7/4")

	for range 2 {
		p := startOnIn(t, lab.Server, m.group(t, "redis"), nil, nil, redis, "--bind", lab.Server.IPv4, "--protected-mode", "no", "--save", "", "--dir", t.TempDir())
		require.True(t, p.hears("Ready to accept connections", 3*time.Minute), p.out.String())
		conn := dialOn(t, lab, 6379)
		fmt.Fprint(conn, "PING\r\n")
		answer := make([]byte, 7)
		_, err := conn.Read(answer)
		require.NoError(t, err)
		m.awaitHeld(t, "redis", "true 300/20/15")
		p.in.Close()
		stopAll(t, m.group(t, "redis"))
		require.True(t, p.ends(time.Minute))
		require.NoError(t, os.Remove(filepath.Join(m.top.DirectoryName(), "redis")))
	}
	assert.Empty(t, j.stderr.String())
}

// dialOn connects to the server, as soon as it listens.
func dialOn(t *testing.T, lab *netlab.Lab, port int) (conn net.Conn) {
	t.Helper()
	await(t, func() bool {
		var err error
		lab.Client.Do(func() { conn, err = net.Dial("tcp", lab.Server.Address("tcp4", port)) })
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Two destinations are behind firewalls that forget after other times. Each connection
// is kept by the rule of its destination, and one without a rule is forgotten.
func TestApplyTwoDestinations(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{remote: '198.51.100.0/24:7', plan: {idle_limit: 3s}}", "{remote: '[2001:db8:2::/48]:8', plan: {idle_limit: 8s}}")
	m.apply(t)
	fast := netlab.NewLab(t, netlab.Rules{Established: 3 * time.Second})
	slow := netlab.NewLab(t, netlab.Rules{Established: 8 * time.Second})
	type client struct {
		conn net.Conn
		p    *process
	}
	read := func(lab *netlab.Lab, group, network string, port int) client {
		ln := lab.Server.Listen(t, &net.ListenConfig{KeepAlive: -1}, network, port)
		p := startOnIn(t, lab.Client, m.group(t, group), nil, nil, testprogram, "read", ln.Addr().String())
		conn, err := ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return client{conn, p}
	}
	toFast, toSlow, other := read(fast, "fast", "tcp4", 7), read(slow, "slow", "tcp6", 8), read(slow, "other", "tcp4", 9)
	m.awaitHeld(t, "fast", "true 1/1/3")
	m.awaitHeld(t, "slow", "true 6/1/3")
	m.awaitHeld(t, "other", "true 15/15/9")
	silent := time.After(11 * time.Second)
	<-silent
	for _, c := range []client{toFast, toSlow, other} {
		_, err := fmt.Fprintln(c.conn, "word")
		require.NoError(t, err)
	}
	assert.True(t, toFast.p.hears("word", 10*time.Second))
	assert.True(t, toSlow.p.hears("word", 10*time.Second))
	assert.False(t, other.p.hears("word", 2*time.Second))
}
