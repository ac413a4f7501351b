package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// full is a socket whose policy sets every option to its example.
func full(t testing.TB) *sockets.Socket {
	t.Helper()
	c, _, err := policy.Parse(strings.Join(policy.Examples(), ","))
	require.NoError(t, err)
	return &sockets.Socket{
		Holders: []sockets.Holder{{Process: sockets.Process{PID: 7, Command: "server"}, FD: 3}},
		State:   sockets.Established,
		Local:   netip.MustParseAddrPort("127.0.0.1:80"),
		Remote:  netip.MustParseAddrPort("[::1]:4711"),
		NetNS:   4026531840,
		Config:  keepalive.Config(c),
		Status:  keepalive.Status{Open: true, Probes: 1, Retransmits: 2, Unacked: 3, SinceReceived: 1500 * time.Millisecond, SinceAck: time.Minute, RTT: 250 * time.Microsecond},
		Idle:    sockets.Unnoticed{For: 75 * time.Second, Known: true},
		Timer:   sockets.Timer{Kind: sockets.KeepAlive, Left: 12345 * time.Millisecond},
	}
}

func printed(t testing.TB, s *sockets.Socket) string {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	require.NoError(t, printSocket(w, s))
	require.NoError(t, w.Flush())
	return b.String()
}

// Programs read these lines.
func TestJSONIsStable(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `{"processes":[{"pid":7,"command":"server","fd":3}],"state":"established","local":"127.0.0.1:80","remote":"[::1]:4711","netns":4026531840,`+
		`"mptcp":false,"keepalive":true,"idle":60,"interval":5,"count":3,"user_timeout":75,"max_rto":2,"unnoticed_idle":75,"unnoticed_in_flight":null,`+
		`"timer":"keepalive","timer_left":12.345,"heard":1.5,"probes":1,"retransmits":2,"unacked":3,"rtt":0.00025,"suspect":true}`+"\n", printed(t, full(t)))
	assert.Equal(t, `{"processes":[],"state":"listen","local":null,"remote":null,"netns":null,"mptcp":true,"keepalive":false,`+
		`"idle":0,"interval":0,"count":0,"user_timeout":0.0015,"max_rto":120,"unnoticed_idle":null,"unnoticed_in_flight":0,"timer":null,"timer_left":null}`+"\n",
		printed(t, &sockets.Socket{
			State: sockets.Listen, MPTCP: true,
			Config:   keepalive.Config{Disable: true, UserTimeout: 1500 * time.Microsecond},
			Idle:     sockets.Unnoticed{Never: true},
			InFlight: sockets.Unnoticed{Known: true},
		}))
}

// Whatever shows or changes a policy goes through the table of options.
func TestEveryOption(t *testing.T) {
	t.Parallel()
	s := full(t)
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(printed(t, s)), &object))
	table := renderSockets(term.Output{}, []*sockets.Socket{s})
	narrow, _ := shortPolicy(s)
	help := newRoot().Long
	for i := range policy.Options {
		o := &policy.Options[i]
		v := o.Of(policy.Config(s.Config))
		assert.NotZero(t, v, o.Key)
		assert.Contains(t, object, o.Key)
		assert.Contains(t, fields(), o.Key)
		assert.Contains(t, fields(), o.Name)
		assert.Contains(t, table[0], heading(o))
		assert.Contains(t, table[1], optionText(o, v))
		assert.Contains(t, narrow, optionText(o, v))
		assert.Contains(t, shortPolicyHelp(), heading(o))
		assert.Contains(t, help, o.Key+"="+o.Example)
		assert.Contains(t, newSet().Long, o.Key+"=0")
		assert.Contains(t, goLiteral(s.Config), o.Field+": "+goValue(o, v))

		named, err := parseChange(o.Key + "=" + o.Example)
		require.NoError(t, err)
		changed, err := named.of(new(sockets.Socket))
		assert.NoError(t, err)
		assert.Equal(t, v, o.Of(policy.Config(changed)), o.Key)
		unchanged, err := named.of(s)
		assert.NoError(t, err)
		assert.Equal(t, s.Config, unchanged, o.Key)

		_, err = parseEnforced(o.Key + "=0")
		assert.ErrorContains(t, err, o.Key+" is 0, want a value")
		enforced, err := parseEnforced(o.Key + "=" + o.Example)
		assert.NoError(t, err)
		assert.Equal(t, v, o.Of(enforced.policy), o.Key)
	}
}
