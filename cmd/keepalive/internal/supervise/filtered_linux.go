package supervise

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/seccomppolicy"
)

// filtered is a program that runs with a filter, in the control group of this
// process. A group of its own would not be that of its sockets.
type filtered struct {
	policy *seccomppolicy.Policy
	server *seccomppolicy.Server
	others []int // processes that have nothing to do with it
}

// RunFiltered starts cmd with the policy and returns how it ended, once no process
// is left that it has started. Signals go to the program, and after its end to all
// processes that are left. This process becomes the parent of those whose parent
// ends, see PR_SET_CHILD_SUBREAPER in prctl(2).
func (s Signals) RunFiltered(cmd *exec.Cmd, p *seccomppolicy.Policy) (syscall.WaitStatus, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	f := &filtered{policy: p, others: descendants(nil)}
	defer func() {
		if f.server != nil {
			f.server.Close()
		}
	}()
	return s.run(cmd, f)
}

func (f *filtered) start(cmd *exec.Cmd) error { return startByShim(cmd, f) }

func (f *filtered) wait(childless <-chan struct{}) error {
	select {
	case <-f.server.Unused():
	case <-childless: // before Linux 5.9
	}
	return nil
}

func (f *filtered) processes() []int { return descendants(f.others) }

// descendants returns the processes that descend from this one, but for some and
// their own descendants.
func descendants(without []int) (pids []int) {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		// The name, in parentheses, may have any character.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if err != nil || len(fields) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, _ := strconv.Atoi(string(fields[1]))
		children[parent] = append(children[parent], pid)
	}
	for next := []int{os.Getpid()}; len(next) > 0; next = next[1:] {
		for _, pid := range children[next[0]] {
			if !slices.Contains(without, pid) {
				pids, next = append(pids, pid), append(next, pid)
			}
		}
	}
	return pids
}
