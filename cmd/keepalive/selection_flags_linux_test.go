package main

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// selected returns what flags select.
func selected(t testing.TB, flags ...string) (s selection, defined []string) {
	t.Helper()
	c := new(cobra.Command)
	s.addFlags(c)
	require.NoError(t, c.ParseFlags(flags), flags)
	c.Flags().VisitAll(func(f *pflag.Flag) { defined = append(defined, "--"+f.Name) })
	return s, defined
}

// Each of the flags selects by itself, so that set and kill accept it alone.
func TestEachFlagSelects(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"--pid": "=7", "--command": "=server", "--cgroup": "=/a", "--unit": "=a", "--netns": "=4026531840",
		"--local": "=:80", "--remote": "=:80", "--listen": "", "--suspect": "", "--hang": "=1m", "--hang-in-flight": "=never",
	}
	everything, defined := selected(t)
	assert.True(t, everything.isEmpty())
	assert.Len(t, values, len(defined))
	for _, flag := range defined {
		s, _ := selected(t, flag+values[flag])
		assert.False(t, s.isEmpty(), flag)
		assert.Equal(t, flag == "--pid" || flag == "--command" || flag == "--cgroup" || flag == "--unit", s.namesProcesses(), flag)
	}
}

// Flags of different names must all hold.
func TestSelectionHas(t *testing.T) {
	t.Parallel()
	connection, listener := full(t), full(t)
	listener.State, listener.Remote, listener.Status.Open = sockets.Listen, netip.AddrPort{}, false
	live, unheld, opening := full(t), full(t), full(t)
	live.Status.Probes, live.Status.Retransmits = 0, 0
	unheld.Holders = nil
	opening.State, opening.Status = 2, keepalive.Status{} // syn-sent
	never := full(t)
	never.Idle = sockets.Unnoticed{Never: true}
	forgotten := full(t)
	forgotten.InFlight = sockets.Unnoticed{For: 16 * time.Minute, Known: true}
	all := map[string]*sockets.Socket{
		"connection": connection, "listener": listener, "live": live, "unheld": unheld, "opening": opening, "never": never, "forgotten": forgotten,
	}
	for flags, want := range map[string][]string{
		"":                                {"connection", "listener", "live", "unheld", "opening", "never", "forgotten"},
		"--listen":                        {"listener"},
		"--suspect":                       {"connection", "unheld", "never", "forgotten"},
		"--pid=7":                         {"connection", "listener", "live", "opening", "never", "forgotten"},
		"--pid=8":                         nil,
		"--pid=8,7":                       {"connection", "listener", "live", "opening", "never", "forgotten"},
		"--pid=7 --command=client":        nil,
		"--netns=4026531840 --remote=::1": {"connection", "live", "unheld", "opening", "never", "forgotten"},
		"--netns=4026531841":              nil,
		"--local=127.0.0.1:80 --listen":   {"listener"},
		"--local=127.0.0.1:81":            nil,
		"--remote=:4711 --listen":         nil,
		"--hang=never":                    {"never"},
		"--hang=74s":                      {"connection", "live", "unheld", "never", "forgotten"},
		"--hang=75s":                      {"never"},
		"--hang=74s --listen":             {"listener"},
		"--hang-in-flight=15m":            {"connection", "live", "unheld", "never", "forgotten"}, // what is unknown may be longer
		"--hang=never --hang-in-flight=20m --suspect": {"connection", "unheld", "never"},
	} {
		s, _ := selected(t, strings.Fields(flags)...)
		var got []string
		for name, socket := range all {
			if s.has(socket) {
				got = append(got, name)
			}
		}
		assert.ElementsMatch(t, want, got, flags)
	}
}

// A limit is printed as it can be given.
func TestLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"never": math.MaxInt64, "10m": 10 * time.Minute, "1ns": 1} {
		var l limit
		assert.Empty(t, l.String())
		assert.False(t, l.set)
		require.NoError(t, l.Set(text))
		assert.Equal(t, limit{want, true}, l)
		assert.NotEmpty(t, l.String())
	}
	for _, text := range []string{"0s", "-1s"} {
		assert.ErrorContains(t, new(limit).Set(text), text+" is no limit, want a duration above zero", text)
	}
}
