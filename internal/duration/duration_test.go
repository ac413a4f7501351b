package duration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                            "0s",
		400 * time.Microsecond:       "0s",
		1499 * time.Microsecond:      "1ms",
		time.Second:                  "1s",
		1050 * time.Millisecond:      "1.1s",
		59960 * time.Millisecond:     "1m",
		90400 * time.Millisecond:     "1m30s",
		10 * time.Minute:             "10m",
		time.Hour:                    "1h",
		2*time.Hour + 11*time.Minute: "2h11m",
		2*time.Hour + 15*time.Second: "2h0m15s",
		-4500 * time.Millisecond:     "-4.5s",
		924600 * time.Millisecond:    "15m25s",
	} {
		assert.Equal(t, want, Format(d))
	}
}
