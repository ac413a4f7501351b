// Mutate tells which changes of the code the tests do not notice.
//
//	mutate [-tests PACKAGE,...] [-accepted FILE] PACKAGE...
//
// It compiles the tests of the packages once, with all changes (mutants) in the code,
// each behind a condition. Then it runs them with one change after the other: those
// tests that reach it, the quickest first, until one fails. A mutant that none of them
// notices survives. It prints the survivors and the share that was killed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"
)

type options struct {
	packages []string // whose code is changed
	tests    []string // further packages whose tests are run
	files    *regexp.Regexp
	skip     *regexp.Regexp // tests that are not run
	longest  time.Duration  // of a test that is run
	accepted string         // file
	least    float64        // score in percent
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(os.Stdout, o)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	tests := flags.String("tests", "", "further `packages`, separated by commas, whose tests are run")
	files := flags.String("files", "", "change only the files whose name matches the `regexp`")
	skip := flags.String("skip", "^$", "do not run the tests whose name matches the `regexp`")
	flags.DurationVar(&o.longest, "longest", 10*time.Second, "leave out a test that takes longer")
	flags.StringVar(&o.accepted, "accepted", "", "a `file` of survivors that are accepted, each with its reason")
	flags.Float64Var(&o.least, "least", 0, "fail where less than this `percentage` is killed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() == 0 {
		return o, errors.New("no package, want one or more whose code is changed")
	}
	if o.files, err = regexp.Compile(*files); err != nil {
		return o, err
	}
	if o.skip, err = regexp.Compile(*skip); err != nil {
		return o, err
	}
	o.packages = flags.Args()
	if *tests != "" {
		o.tests = strings.Split(*tests, ",")
	}
	return o, nil
}

func run(out io.Writer, o options) error {
	accepted, err := readAccepted(o.accepted)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	packages, err := load(o.packages)
	if err != nil {
		return err
	}
	mutants := find(packages, o.files)
	binaries, err := build(dir, packages, mutants, append(o.packages, o.tests...))
	if err != nil {
		return err
	}
	tests, err := measure(dir, binaries, o, len(mutants))
	if err != nil {
		return err
	}
	judge(mutants, tests, runtime.NumCPU())
	return report(out, mutants, accepted, o.least)
}

// report prints the survivors and the score, which leaves out what is accepted.
func report(out io.Writer, mutants []*mutant, accepted map[string]string, least float64) error {
	killed, survived, known := 0, 0, 0
	used := make(map[string]bool)
	for _, m := range mutants {
		switch {
		case m.dropped:
		case m.killed:
			killed++
		case accepted[m.key()] != "":
			known++
			used[m.key()] = true
		default:
			survived++
			reached := ""
			if !m.reached {
				reached = " (no test gets there)"
			}
			fmt.Fprintf(out, "%s:%d: %s%s\n", m.file, m.line, m.key(), reached)
		}
	}
	for key := range accepted {
		if !used[key] {
			fmt.Fprintf(out, "accepted, but not a survivor: %s\n", key)
		}
	}
	score := 100 * float64(killed) / float64(max(1, killed+survived))
	fmt.Fprintf(out, "killed %d of %d (%.1f %%), %d survivors accepted\n", killed, killed+survived, score, known)
	if score < least {
		return fmt.Errorf("killed %.1f %%, want %.1f %%", score, least)
	}
	return nil
}

// readAccepted reads survivors and their reasons: a line each, divided by " # ".
func readAccepted(file string) (map[string]string, error) {
	accepted := make(map[string]string)
	if file == "" {
		return accepted, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, _ := strings.Cut(line, " # ")
		if reason == "" {
			return nil, fmt.Errorf("%s:%d: no reason, want SURVIVOR # REASON", file, i+1)
		}
		accepted[key] = reason
	}
	return accepted, nil
}
