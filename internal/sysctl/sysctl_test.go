package sysctl

import (
	"math"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t testing.TB, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "setting")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestReadInt(t *testing.T) {
	for content, want := range map[string]int{
		"7200\n":        7200,
		"1":             1,
		" 42 \n":        42,
		"0\n":           0,
		"-1\n":          -1,
		"100000\n":      100000,
		"2147483647\n":  math.MaxInt32,
		"-2147483648\n": math.MinInt32,
	} {
		got, err := readInt(write(t, content))
		assert.NoError(t, err, "%q", content)
		assert.Equal(t, want, got, "%q", content)
	}
	for _, content := range []string{
		"", "\n", "rubbish\n", "15 s\n", "7200\n75\n", "2147483648\n", "-2147483649\n",
		"99999999999999999999999\n", "1e3\n", "0x10\n", "\x00\xff",
	} {
		_, err := readInt(write(t, content))
		assert.Error(t, err, "%q", content)
	}
}

func TestReadIntOfNoFile(t *testing.T) {
	_, err := readInt(filepath.Join(t.TempDir(), "missing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = readInt(t.TempDir()) // root can't read a directory either
	assert.Error(t, err)
}

func FuzzReadInt(f *testing.F) {
	for _, seed := range []string{"7200\n", "", "-1", "+7", "2147483648", "-2147483649", "99999999999999999999", "rubbish", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		n, err := readInt(write(t, content))
		want, ok := new(big.Int).SetString(strings.TrimSpace(content), 10)
		ok = ok && want.IsInt64() && want.Int64() == int64(int32(want.Int64())) // the kernel's int
		require.Equal(t, ok, err == nil, "%v", err)
		if ok {
			assert.Equal(t, want.Int64(), int64(n))
		}
	})
}
