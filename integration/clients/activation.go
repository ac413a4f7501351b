package clients

import (
	"net"
	"os"

	"github.com/seed-7be6acb7/keepalive"
)

// Activated returns the first socket that systemd has passed to the program, with
// the policy of its unit on every connection.
func Activated() (net.Listener, error) {
	file := os.NewFile(3, "socket") // SD_LISTEN_FDS_START of sd_listen_fds(3)
	defer file.Close()
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	policy, err := keepalive.GetListener(ln)
	if err != nil {
		ln.Close()
		return nil, err
	}
	return keepalive.NewListener(ln, policy)
}
