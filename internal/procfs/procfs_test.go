package procfs

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}

func TestKeepalive(t *testing.T) {
	for content, want := range map[string]int{
		"7200\n":                    7200,
		"1":                         1,
		" 42 \n":                    42,
		"0\n":                       0,
		"-1\n":                      -1,
		"100000\n":                  100000,
		"2147483647\n":              2147483647,
		"":                          -7,
		"\n":                        -7,
		"rubbish\n":                 -7,
		"15 s\n":                    -7,
		"7200\n75\n":                -7,
		"2147483648\n":              -7,
		"-2147483649\n":             -7,
		"99999999999999999999999\n": -7,
		"1e3\n":                     -7,
		"0x10\n":                    -7,
		"\x00\xff":                  -7,
	} {
		dir := t.TempDir()
		write(t, dir, "a", content)
		assert.Equal(t, want, read(dir, "a", -7), "%q", content)
	}
}

func TestKeepaliveReadsEachFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "tcp_keepalive_time", "111\n")
	write(t, dir, "tcp_keepalive_intvl", "22\n")
	write(t, dir, "tcp_keepalive_probes", "3\n")
	time, interval, probes := Keepalive(dir)
	assert.Equal(t, []int{111, 22, 3}, []int{time, interval, probes})
}

func TestKeepaliveWithoutProc(t *testing.T) {
	unreadable := t.TempDir()
	for _, name := range []string{"tcp_keepalive_time", "tcp_keepalive_intvl", "tcp_keepalive_probes"} {
		// A directory can't be read by root either.
		require.NoError(t, os.Mkdir(filepath.Join(unreadable, name), 0o700))
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing"), unreadable} {
		time, interval, probes := Keepalive(dir)
		assert.Equal(t, []int{7200, 75, 9}, []int{time, interval, probes})
	}
}

func FuzzKeepalive(f *testing.F) {
	for _, seed := range []string{"7200\n", "", "-1", "99999999999999999999", "rubbish", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		dir := t.TempDir()
		write(t, dir, "tcp_keepalive_time", content)
		time, interval, probes := Keepalive(dir)
		assert.Equal(t, []int{75, 9}, []int{interval, probes})
		assert.True(t, math.MinInt32 <= time && time <= math.MaxInt32, "%d is no int of the kernel's", time)
	})
}
