package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// test is a test function.
type test struct {
	binary  binary
	name    string
	takes   time.Duration
	reaches map[int]bool // mutants
}

// measure runs each test by itself, and finds out how long it takes and which mutants
// it reaches. It leaves out those that fail, or take too long.
func measure(dir string, binaries []binary, o options) (tests []*test, err error) {
	for _, b := range binaries {
		cmd := exec.Command(b.path, "-test.list", "^(Test|Example|Fuzz)")
		cmd.Dir = b.dir
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.dir, err)
		}
		for name := range strings.Lines(string(out)) {
			if name = strings.TrimSpace(name); name != "" && !o.skip.MatchString(name) {
				tests = append(tests, &test{binary: b, name: name, reaches: make(map[int]bool)})
			}
		}
	}
	ok := make([]bool, len(tests))
	inParallel(o.workers, len(tests), func(i int) {
		ok[i] = tests[i].measure(filepath.Join(dir, strconv.Itoa(i)+".reached"), o.longest)
	})
	var kept []*test
	for i, t := range tests {
		if ok[i] {
			kept = append(kept, t)
		}
	}
	slices.SortStableFunc(kept, func(a, b *test) int { return cmp.Compare(a.takes, b.takes) })
	return kept, nil
}

func (t *test) measure(reached string, longest time.Duration) (ok bool) {
	// A program that a test runs may run as another user.
	if err := errors.Join(os.WriteFile(reached, nil, 0o666), os.Chmod(reached, 0o666)); err != nil {
		log.Fatal(err)
	}
	began := time.Now()
	passed := t.binary.pass(0, reached, 2*longest+time.Second, t.name)
	t.takes = time.Since(began)
	if !passed || t.takes > longest {
		log.Printf("left out: %s, passed: %v, took %v", t.name, passed, t.takes.Round(time.Millisecond))
		return false
	}
	text, _ := os.ReadFile(reached)
	for line := range strings.Lines(string(text)) {
		if id, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			t.reaches[id] = true
		}
	}
	return true
}

// inParallel calls f with 0 to n-1, by so many workers.
func inParallel(workers, n int, f func(i int)) {
	queue := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range queue {
				f(i)
			}
		})
	}
	for i := range n {
		queue <- i
	}
	close(queue)
	wg.Wait()
}

// pass runs tests of a binary with a mutant, or with none, and reports whether they
// pass in time. It stops at the first that fails.
func (b binary) pass(mutant int, reached string, timeout time.Duration, names ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.path, "-test.v", "-test.failfast", "-test.parallel=8", "-test.run", "^("+strings.Join(names, "|")+")$")
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "MUTANT="+strconv.Itoa(mutant), "MUTANTS_REACHED="+reached)
	if b.programs != "" {
		cmd.Env = append(cmd.Env, "MUTANT_PROGRAMS="+b.programs)
	}
	killGroup(cmd)
	cmd.WaitDelay = time.Second
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("--- FAIL: ")) {
			cancel()
		}
		return len(p), nil
	})
	if err := cmd.Start(); err != nil {
		return false
	}
	defer killSession(cmd.Process.Pid)
	return cmd.Wait() == nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// judge runs the tests against each mutant.
func judge(mutants []*mutant, tests []*test, workers int) {
	began := time.Now()
	inParallel(workers, len(mutants), func(i int) {
		if m := mutants[i]; !m.dropped {
			m.killed = m.isKilled(tests)
		}
		if i%100 == 99 {
			log.Printf("%d of %d mutants after %v", i+1, len(mutants), time.Since(began).Round(time.Second))
		}
	})
}

// isKilled runs the tests that reach the mutant, the quick ones first. Tests of one
// package that take a similar time run at once.
func (m *mutant) isKilled(tests []*test) bool {
	bounds := []time.Duration{time.Second, 8 * time.Second, math.MaxInt64}
	for _, bound := range bounds {
		together := make(map[binary][]*test)
		tests = slices.DeleteFunc(slices.Clone(tests), func(t *test) bool {
			if t.takes < bound && t.reaches[m.id] {
				m.reached = true
				together[t.binary] = append(together[t.binary], t)
			}
			return t.takes < bound
		})
		for b, tests := range together {
			if !b.passInTime(m.id, tests) {
				return true
			}
		}
	}
	return false
}

// passInTime allows for tests that run one after the other, and several times the
// usual time: many a mutant never comes to an end.
func (b binary) passInTime(mutant int, tests []*test) bool {
	timeout, longest := 3*time.Second, time.Duration(0)
	var names []string
	for _, t := range tests {
		timeout += t.takes
		longest = max(longest, t.takes)
		names = append(names, t.name)
	}
	return b.pass(mutant, "", timeout+4*longest, names...)
}
