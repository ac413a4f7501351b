// Mutate tells which changes of the code the tests do not notice.
//
//	mutate [-tests PACKAGE,...] [-programs PACKAGE,...] [-accepted FILE] PACKAGE...
//
// It compiles the tests of the packages once, with all changes (mutants) in the code,
// each behind a condition. Then it runs them with one change after the other: those
// tests that reach it, the quickest first, until one fails. A mutant that none of them
// notices survives. It prints the survivors and the share that was killed.
//
// It compiles the programs of -programs too, with the changes in their code. Tests find them
// in the directory that the environment variable MUTANT_PROGRAMS names.
//
// A line of the file of accepted survivors is SURVIVOR # REASON. SURVIVOR is what is
// printed behind the line number, and an asterisk in it stands for any text.
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
	programs []string // that tests run
	files    *regexp.Regexp
	skip     *regexp.Regexp // tests that are not run
	longest  time.Duration  // of a test that is run
	again    string         // output of an earlier run, whose survivors alone are tried
	workers  int            // tests that run at once
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
	programs := flags.String("programs", "", "`packages`, separated by commas, of programs that tests run")
	files := flags.String("files", "", "change only the files whose name matches the `regexp`")
	skip := flags.String("skip", "^$", "do not run the tests whose name matches the `regexp`")
	flags.DurationVar(&o.longest, "longest", 10*time.Second, "leave out a test that takes longer")
	flags.IntVar(&o.workers, "parallel", 2*runtime.NumCPU(), "run `n` tests at once; most of them wait")
	flags.StringVar(&o.again, "again", "", "try only the survivors in a `file`, which holds the output of an earlier run")
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
	if *programs != "" {
		o.programs = strings.Split(*programs, ",")
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
	if err := keepOnly(mutants, o.again); err != nil {
		return err
	}
	binaries, err := build(dir, packages, mutants, o)
	if err != nil {
		return err
	}
	tests, err := measure(dir, binaries, o)
	if err != nil {
		return err
	}
	judge(mutants, tests, o.workers)
	return report(out, mutants, accepted, o)
}

// keepOnly drops the mutants that are not in the output of an earlier run.
func keepOnly(mutants []*mutant, file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	survived := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		_, key, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), notReached), ": ")
		survived[key] = true
	}
	for _, m := range mutants {
		m.dropped = !survived[m.key()]
	}
	return nil
}

const notReached = " (no test gets there)"

// report prints the survivors and the score, which leaves out what is accepted.
func report(out io.Writer, mutants []*mutant, accepted []*acceptance, o options) error {
	killed, survived, known := 0, 0, 0
	changed := make(map[string]bool) // files
	for _, m := range mutants {
		changed[m.file] = true
		switch {
		case m.dropped:
		case m.killed:
			killed++
		case isAccepted(m.key(), accepted):
			known++
		default:
			survived++
			reached := ""
			if !m.reached {
				reached = notReached
			}
			fmt.Fprintf(out, "%s:%d: %s%s\n", m.file, m.line, m.key(), reached)
		}
	}
	for _, a := range accepted {
		if file, _, _ := strings.Cut(a.survivor, ":"); !a.used && o.again == "" && changed[file] {
			fmt.Fprintf(out, "accepted, but not a survivor: %s\n", a.survivor)
		}
	}
	score := 100 * float64(killed) / float64(max(1, killed+survived))
	fmt.Fprintf(out, "killed %d of %d (%.1f %%), %d survivors accepted\n", killed, killed+survived, score, known)
	if score < o.least {
		return fmt.Errorf("killed %.1f %%, want %.1f %%", score, o.least)
	}
	return nil
}
