package supervise

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// left is a program of which some processes are left.
type left []int

func (l left) start(*exec.Cmd) error      { return nil }
func (l left) wait(<-chan struct{}) error { return nil }
func (l left) processes() []int           { return l }

// A signal that comes after the program is reaped, and before that is known, reaches
// the processes that are left.
func TestSignalAfterReaping(t *testing.T) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGUSR1)
	defer signal.Stop(got)
	first, err := os.FindProcess(2000000000) // more than Linux has
	require.NoError(t, err)
	signals, ended, done := make(Signals), make(chan syscall.WaitStatus), make(chan error)
	go func() {
		_, err := signals.passOn(first, left{os.Getpid()}, ended, nil)
		done <- err
	}()
	signals <- unix.SIGUSR1
	ended <- 0
	assert.NoError(t, <-done)
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Error("the signal is lost")
	}
}
