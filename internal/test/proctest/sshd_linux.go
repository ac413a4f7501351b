package proctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// SSHD returns the path of OpenSSH's server, and a host key for it. It skips the test
// where the server can't run.
func SSHD(t testing.TB) (path, key string) {
	t.Helper()
	path = netlab.LookPath(t, "sshd")
	if os.Geteuid() == 0 { // sshd requires its privilege separation directory then
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			netlab.Skip(t, err)
		}
	}
	key = filepath.Join(t.TempDir(), "key")
	out, err := exec.Command(netlab.LookPath(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	return path, key
}
