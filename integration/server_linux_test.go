package integration_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/netlab"
)

// startServer starts a server on the host, waits until it logs ready, and stops
// it with the signal when the test ends.
func startServer(t *testing.T, host *netlab.Host, cmd *exec.Cmd, ready string, stop syscall.Signal) {
	t.Helper()
	log := &serverLog{ready: []byte(ready), isReady: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 10 * time.Second
	if err := host.Start(cmd); err != nil {
		netlab.Skip(t, err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(stop)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
			t.Errorf("%s had to be killed:\n%s", cmd.Path, log)
		}
	})
	select {
	case <-log.isReady:
	case err := <-ended:
		t.Fatalf("%s ended, %v:\n%s", cmd.Path, err, log)
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready:\n%s", cmd.Path, log)
	}
}

// serverLog keeps what a server writes, and notices that it is ready.
type serverLog struct {
	ready   []byte
	isReady chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	seen bool
}

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.text.Write(p)
	if !l.seen && bytes.Contains(l.text.Bytes(), l.ready) {
		l.seen = true
		close(l.isReady)
	}
	return n, err
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// find looks for the binary of a server, or skips the test.
func find(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		netlab.Skip(t, fmt.Errorf("%w: .ci/run installs it", err))
	}
	return path
}
