package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nothing is said as such, and a guard that finds nothing is silent.
func TestLsFindsNothing(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, _ := startGo(t, "127.0.0.1:7000")
	nothing := []string{"--pid", pid(server), "--local", "192.0.2.1"}
	assert.Equal(t, result{stdout: "no TCP socket matches\n"}, runCommand(t, append([]string{"ls"}, nothing...)...))
	assert.Equal(t, result{stderr: "no TCP socket matches\n"}, runCommand(t, append([]string{"ls", "--json"}, nothing...)...))
	assert.Equal(t, result{}, runCommand(t, append([]string{"ls", "--hang", "never"}, nothing...)...))

	term := newTerminal(t, 100, 30)
	cmd := command(t, append([]string{"ls", "--watch", "10ms"}, nothing...)...)
	cmd.Stdout, cmd.Stderr = term.File, term.File
	require.NoError(t, cmd.Start())
	awaitThat(t, func() bool { return strings.Count(term.shown(), "\x1b[H") > 2 }, "not redrawn")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	assert.Regexp(t, `PROCESS(.|\n)*UNNOTICED(.|\n)*no TCP socket matches`, term.shown())
}

// A server is known by its port.
func TestLsShowsTheLocalPort(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	shown := show(t, 100, 30, "NO_COLOR=1", "ls", "--pid", pid(server), "--remote", conn.LocalAddr().String())
	assert.Regexp(t, `PROCESS +PORT +PEER `, shown)
	assert.Regexp(t, fmt.Sprintf(`redis-server\[%s\] +6379 +%s `, pid(server), conn.LocalAddr()), shown)
}

// However many processes are refused, they are one line.
func TestSetRefusedByMany(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	first, _ := startGo(t, "127.0.0.1:7000")
	second, _ := startGo(t, "127.0.0.1:7001")
	r := asNobody(t, "set", "--pid", pid(first), "--pid", pid(second), "idle=1m")
	assert.Equal(t, exitProblem, r.code)
	assert.Equal(t, "2 processes could not be looked into (2: it belongs to another user, so it takes CAP_SYS_PTRACE, which root has)\n", r.stderr)
}

func TestSetJSON(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, out := startGo(t, "127.0.0.1:7000")
	conn := dial(t, "127.0.0.1:7000")
	out.await(t, "accepted")
	set := func(args ...string) []map[string]any {
		r := runCommand(t, append([]string{"set", "--json", "--pid", pid(server)}, args...)...)
		require.NotEqual(t, exitUsage, r.code, r.stderr)
		var results []map[string]any
		for line := range strings.Lines(r.stdout) {
			var o map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &o), line)
			results = append(results, o)
		}
		return results
	}
	for _, dryRun := range []bool{true, false} {
		results := set("--remote", conn.LocalAddr().String(), fmt.Sprint("--dry-run=", dryRun), "idle=1m,user_timeout=9s")
		require.Len(t, results, 1)
		o := results[0]
		assert.Equal(t, "set", o["result"])
		assert.Equal(t, dryRun, o["dry_run"])
		assert.Equal(t, map[string]any{"keepalive": true, "idle": 15.0, "interval": 15.0, "count": 9.0, "user_timeout": 0.0, "max_rto": 120.0}, o["before"])
		assert.Equal(t, map[string]any{"keepalive": true, "idle": 60.0, "interval": 15.0, "count": 9.0, "user_timeout": 9.0, "max_rto": 120.0}, o["after"])
		assert.Nil(t, o["takes_effect"])
		assert.Nil(t, o["reason"])
		assert.Nil(t, o["note"])
		assert.Equal(t, conn.LocalAddr().String(), o["socket"].(map[string]any)["remote"])
	}
	results := set("--listen", "idle=1m")
	require.Len(t, results, 1)
	assert.Contains(t, results[0]["note"], "The program is Go's")
	results = set("idle=1m")
	require.Len(t, results, 2)
	assert.Equal(t, "unchanged", results[0]["result"])
}

func TestDefaultsJSON(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "100")
	out, err := exec.Command(program(t, "keepalive"), "defaults", "--json").Output()
	require.NoError(t, err)
	var o struct {
		Sysctls []struct {
			Name, Unit string
			Value      *int
			SetBy      string `json:"set_by"`
		}
		Policies []struct {
			Name              string
			KeepAlive         bool
			Idle              float64
			UnnoticedIdle     *float64 `json:"unnoticed_idle"`
			UnnoticedInFlight *float64 `json:"unnoticed_in_flight"`
		}
	}
	require.NoError(t, json.Unmarshal(out, &o), "%s", out)
	require.Len(t, o.Sysctls, len(sysctls))
	assert.Equal(t, "net.ipv4.tcp_keepalive_time s 100", fmt.Sprint(o.Sysctls[0].Name, " ", o.Sysctls[0].Unit, " ", value(t, o.Sysctls[0].Value)))
	assert.NotEmpty(t, o.Sysctls[0].SetBy)
	require.Len(t, o.Policies, 3)
	assert.Equal(t, 100.0, o.Policies[0].Idle)
	assert.Equal(t, 775.0, value(t, o.Policies[0].UnnoticedIdle))
	assert.Equal(t, 924.6, value(t, o.Policies[0].UnnoticedInFlight))
	assert.Equal(t, "Go's net", o.Policies[1].Name)
	assert.False(t, o.Policies[2].KeepAlive)
	assert.Nil(t, o.Policies[2].UnnoticedIdle)
}
