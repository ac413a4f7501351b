package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	ids, err := numbers([]string{"0", "65534", "4294967295"})
	assert.NoError(t, err)
	assert.Equal(t, []uint32{0, 65534, 4294967295}, ids)
	for _, id := range []string{"-2", "4294967296", "S-1-5-18"} {
		_, err := numbers([]string{"0", id})
		assert.EqualError(t, err, "id "+id+" is no number from 0 to 4294967295")
	}
}
