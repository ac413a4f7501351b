package sockopt

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where the name of the release leaves doubt, a connection tells.
func TestAcceptInherits(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-13-amd64":    true,
		"5.15.0":            true,
		"4.4.0":             false,
		"4.19.0-gvisor":     false,
		"4.4.0-101-generic": false, // of Ubuntu 16.04
	} {
		assert.Equal(t, want, isLinux(release), release)
	}
	before := descriptors(t)
	assert.Equal(t, AcceptInherits(), tryInheriting())
	assert.Equal(t, before, descriptors(t))
}

func descriptors(t *testing.T) int {
	t.Helper()
	tryInheriting() // opens what is opened once
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
