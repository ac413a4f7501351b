package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// unanswered connects to a listener that answers no more, since nobody accepts.
const unanswered = `
import errno, socket, time
ln = socket.socket()
ln.bind(("127.0.0.1", 0))
ln.listen(0)
began = time.monotonic()
made, result = [], 0
while result == 0:
    made.append(socket.socket())
    result = made[-1].connect_ex(ln.getsockname())
print(errno.errorcode[result], time.monotonic() - began < 60)
`

// The user timeout bounds connecting too, which Linux gives up after two minutes.
func TestSeccompUserTimeoutBoundsConnecting(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	netlab.LookPath(t, "python3")
	j := alone(t, seccomp(t, "user_timeout=2s", "python3", "-c", unanswered))
	assert.Equal(t, "ETIMEDOUT True\n", j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}
