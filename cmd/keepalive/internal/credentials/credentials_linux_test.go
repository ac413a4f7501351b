package credentials

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

func TestOf(t *testing.T) {
	t.Parallel()
	c := Of("self")
	assert.True(t, c.RunsAs(c))
	assert.Equal(t, fmt.Sprint(os.Getuid()), c.UIDs[0])
	assert.NotEmpty(t, c.UserNS)
	assert.True(t, c.Dumpable)
	var caps [2]unix.CapUserData
	assert.NoError(t, unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]))
	for capability := range unix.CAP_LAST_CAP + 1 {
		assert.Equal(t, caps[capability/32].Effective&(1<<(capability%32)) != 0, c.Has(capability), capability)
	}
}
