package seccomppolicy

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// notes tell the user, each thing once. A program never waits for that.
type notes struct {
	lines   chan string
	written chan struct{}

	mu      sync.Mutex
	closed  bool
	counts  map[string]int  // sockets that are not guarded, by the reason
	refused map[string]bool // programs of another ABI
}

func newNotes(w io.Writer) *notes {
	n := &notes{
		lines: make(chan string, 16), written: make(chan struct{}),
		counts: make(map[string]int), refused: make(map[string]bool),
	}
	go func() {
		defer close(n.written)
		for line := range n.lines {
			fmt.Fprintln(w, "keepalive run:", line)
		}
	}()
	return n
}

func (n *notes) say(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sayLocked(line)
}

func (n *notes) sayLocked(line string) {
	if n.closed {
		return
	}
	select {
	case n.lines <- line:
	default: // nobody reads
	}
}

// left counts a socket that is not guarded.
func (n *notes) left(tid uint32, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.counts[why]++; n.counts[why] == 1 {
		n.sayLocked(fmt.Sprintf("%s has a socket that is not guarded: %s", nameOf(tid), why))
	}
}

// foreign tells of a program of another ABI.
func (n *notes) foreign(tid uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	const enough = 100
	if name := nameOf(tid); !n.refused[name] && len(n.refused) < enough {
		n.refused[name] = true
		n.sayLocked(name + " gets no TCP socket (ENOSYS): it uses the system calls of another ABI, such as those of 32-bit programs, which keepalive can't guard by seccomp: want --method=ebpf, or a native program")
	}
}

// close writes how many sockets are not guarded, after what is left to say.
func (n *notes) close() {
	n.mu.Lock()
	for _, why := range slices.Sorted(maps.Keys(n.counts)) {
		if count := n.counts[why]; count > 1 {
			n.sayLocked(fmt.Sprintf("%d sockets were not guarded: %s", count, why))
		}
	}
	n.closed = true
	close(n.lines)
	n.mu.Unlock()
	<-n.written
}

// nameOf returns the name of a thread's program.
func nameOf(tid uint32) string {
	dir := fmt.Sprintf("/proc/%d/", tid)
	if path, err := os.Readlink(dir + "exe"); err == nil {
		return filepath.Base(path)
	}
	name, err := os.ReadFile(dir + "comm") // also of a process that is not dumpable
	if err != nil {
		return "a program"
	}
	return strings.TrimSpace(string(name))
}
