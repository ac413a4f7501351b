package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCounter(t *testing.T) {
	t.Parallel()
	const netstat = "TcpExt: SyncookiesSent TCPKeepAlive\nTcpExt: 0 12345\nIpExt: InOctets InNoECTPkts\nIpExt: 678 9\n"
	for name, want := range map[string]int64{"SyncookiesSent": 0, "TCPKeepAlive": 12345, "InOctets": 678, "InNoECTPkts": 9} {
		n, err := counter(netstat, name)
		assert.NoError(t, err, name)
		assert.Equal(t, want, n, name)
	}
	_, err := counter(netstat, "Nonsense")
	assert.EqualError(t, err, "/proc/net/netstat has no Nonsense")
}

func TestSlabObjects(t *testing.T) {
	t.Parallel()
	const slabinfo = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab>\n" +
		"TCP                   91    143   2368   13    8 : tunables    0    0    0\nfilp                 2    693    192   21    1 : tunables\n"
	sum, err := slabObjects(slabinfo)
	assert.NoError(t, err)
	assert.EqualValues(t, 91*2368+2*192, sum)
	_, err = slabObjects("TCP x 143 2368 13\n")
	assert.Error(t, err)
}

func TestField(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(file, []byte("a: 1\nb: 2 3\n"), 0o600))
	n, err := field(file, "b:", 2)
	assert.NoError(t, err)
	assert.EqualValues(t, 3, n)
	_, err = field(file, "b:", 3)
	assert.Error(t, err)
	_, err = field(file, "c:", 1)
	assert.Error(t, err)
}

// A busy processor is seen, and an idle one.
func TestSample(t *testing.T) {
	t.Parallel()
	before, err := sampleNow()
	require.NoError(t, err)
	used, err := processTime()
	require.NoError(t, err)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := sampleNow()
	require.NoError(t, err)
	now, err := processTime()
	require.NoError(t, err)
	window := after.minus(before)
	assert.GreaterOrEqual(t, window.Time, 300*time.Millisecond)
	assert.Greater(t, window.Busy, 100*time.Millisecond)
	assert.Greater(t, now-used, 50*time.Millisecond)
}
