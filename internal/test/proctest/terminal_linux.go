package proctest

import (
	"fmt"
	"os"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"golang.org/x/sys/unix"
)

// OpenTerminal returns both ends of a pseudoterminal, see pty(7): the keyboard and
// screen, and the program's end. Both are closed when the test ends. A machine
// without pseudoterminals skips the test.
func OpenTerminal(t testing.TB) (screen, program *os.File) {
	t.Helper()
	screen = openDevice(t, "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal("TIOCSPTLCK:", err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal("TIOCGPTN:", err)
	}
	return screen, openDevice(t, fmt.Sprint("/dev/pts/", n))
}

func openDevice(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		netlab.Skip(t, fmt.Errorf("%w: mount -t devpts devpts /dev/pts", err))
	}
	t.Cleanup(func() { f.Close() })
	return f
}
