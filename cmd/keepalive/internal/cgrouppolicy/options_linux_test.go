package cgrouppolicy

import (
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryOption(t *testing.T) {
	c, _, err := policy.Parse(strings.Join(policy.Examples(), ","))
	require.NoError(t, err)
	options, err := optionsOf(keepalive.Config(c))
	require.NoError(t, err)
	require.Len(t, options, len(policy.Options)+1)
	assert.Equal(t, "SO_KEEPALIVE", options[len(policy.Options)].name)
	for i := range policy.Options {
		o := &policy.Options[i]
		got := options[len(policy.Options)-1-i]
		assert.Equal(t, o.Name, got.name)
		assert.Equal(t, int32(o.Value(c)), got.value)
	}
}
