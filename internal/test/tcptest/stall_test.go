package tcptest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestStallMeter(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	m := &stallMeter{due: at(15)}
	m.wake(at(20)) // due again at 25
	m.wake(at(125))
	m.wake(at(131))
	m.wake(at(141))
	assert.Zero(t, m.between(at(0), at(25)))
	assert.Equal(t, 100*time.Millisecond, m.between(at(0), at(150)))
	assert.Equal(t, 30*time.Millisecond, m.between(at(50), at(80)))
	assert.Zero(t, m.between(at(125), at(150)))
	assert.Equal(t, 200*time.Millisecond, m.between(at(125), at(346)), "it has not woken since")
	assert.Zero(t, m.between(at(200), at(100)))
}
