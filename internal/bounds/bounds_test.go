package bounds

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestText(t *testing.T) {
	e := &Error{Field: "Detect", Value: "1s", Want: "4.5s or more", Zero: "no demand"}
	assert.EqualError(t, e, "Detect is 1s, want 4.5s or more, or 0 for no demand")
	assert.Equal(t, "--detect is 1s, want 4.5s or more, or 0 for no demand", e.Text("--detect", ""))
	e.With = "SlowReads"
	assert.EqualError(t, e, "Detect is 1s, want 4.5s or more with SlowReads, or 0 for no demand")
	assert.Equal(t, "--detect is 1s, want 4.5s or more with --slow-reads, or 0 for no demand", e.Text("--detect", "--slow-reads"))
}
