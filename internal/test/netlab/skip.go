package netlab

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
)

// Skip skips the test for want of what err names, or fails it where
// KEEPALIVE_LAB=required.
func Skip(t testing.TB, err error) {
	t.Helper()
	err = withRemedy(err)
	if os.Getenv(required) == "required" {
		t.Fatalf("%v (%s=required)", err, required)
	}
	skipped.add(err)
	t.Skip(err)
}

// withRemedy adds to a common error what helps against it.
func withRemedy(err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: .ci/run install installs it", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: run the tests as root, outside of containers", err)
	}
	return err
}

// skipped counts the tests that Skip skipped, by the reason.
var skipped skipCounts

type skipCounts struct {
	mu     sync.Mutex
	counts map[string]int
}

func (s *skipCounts) add(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = make(map[string]int)
	}
	s.counts[reason.Error()]++
}

func (s *skipCounts) report(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reason := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(w, "netlab: skipped %d tests or benchmarks: %s\n", s.counts[reason], reason)
	}
}
