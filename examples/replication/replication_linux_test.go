package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/cli"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
)

// asProgram makes the test binary behave as the program.
const asProgram = "REPLICATION_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	netlab.Main(m)
}

// program returns the program, not started. It is killed if it hangs.
func program(t *testing.T, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

func TestSurvivesSilence(t *testing.T) {
	t.Parallel()
	mayFallSilent(t)
	cmd := program(t, "-idle", "1s", "-interval", "1s", "-count", "1", "-records", "11")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", &stderr)
	}
	for _, want := range []string{
		`TCP_KEEPIDLE +1 s +\d+ s\n`,
		`TCP_KEEPCNT +1 +\d+\n`,
		`replica +connected, asks for what follows record 0\n`,
		`replica +holds records 1 to 5 of 11, the link is idle\n`,
		`keepalive +is to notice that after 2 s: idle=1s,interval=1s,count=1\n`,
		`silence +0\.\d s since the last answer, 0 of 1 probes unanswered\n`,
		`silence +1\.\d s since the last answer, 1 of 1 probes unanswered: suspect\n`,
		`net's defaults would have taken \d+ s, the system's \d`,
		`replica +dials again, asks for what follows record 5\n`,
		`replica +holds records 1 to 11\n`,
		`proof +11 of 11 records arrived, each once and in order, every CRC-32C right\n$`,
	} {
		if !regexp.MustCompile(want).Match(stdout.Bytes()) {
			t.Errorf("no line matches %q in\n%s", want, &stdout)
		}
	}
	// Idle and one Interval. That the kernel may be late is no error here.
	if took := detected(t, stdout.String()); took < 1.9 {
		t.Errorf("the kernel ended the connection after %.1f s, the policy says 2 s", took)
	}
}

func detected(t *testing.T, output string) float64 {
	t.Helper()
	m := regexp.MustCompile(`kernel +gives the primary up after (\d+\.\d) s: Read fails with "connection timed out"\n`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("the kernel did not end the connection:\n%s", output)
	}
	took, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// The kernel would end the silence after hours: what ends it is the signal.
func TestInterruptedDuringSilence(t *testing.T) {
	t.Parallel()
	mayFallSilent(t)
	cmd := program(t, "-idle", "9h", "-records", "10")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if !waitForLine(stdout, "silence ") {
		t.Error("the silence did not begin")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	io.Copy(io.Discard, stdout)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	if got, want := stderr.String(), "replication: interrupted, both ends are closed\n"; got != want {
		t.Errorf("stderr: %q, want %q", got, want)
	}
}

func waitForLine(r io.Reader, prefix string) bool {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), prefix) {
			return true
		}
	}
	return false
}

func TestInterruptedBeforehand(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	if code := exitCode(replicate(ctx, cli.NewScreen(io.Discard), o), &stderr); code != exitInterrupted {
		t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, &stderr)
	}
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args string
		want string
	}{
		"idle":          {"-idle 10h", "Idle is 10h0m0s, want 1s to 9h6m7s"},
		"interval":      {"-interval -1s", "Interval is -1s, want 1s to 9h6m7s"},
		"count":         {"-count 128", "Count is 128, want 1 to 127"},
		"few records":   {"-records 1", "-records is 1, want 2 to 1000000"},
		"many records":  {"-records 1000001", "-records is 1000001, want 2 to 1000000"},
		"argument":      {"now", `unexpected argument "now", want flags only`},
		"no unit":       {"-idle 5", "Times have a unit, as in 2s"},
		"unknown":       {"-ideal 5s", "-idle silence"},
		"several words": {"-count 3 4", `unexpected argument "4"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, strings.Fields(test.args)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if !strings.Contains(stderr.String(), test.want) {
				t.Errorf("stderr lacks %q:\n%s", test.want, &stderr)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout: %s", &stdout)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := run([]string{"-h"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, want 0; stderr: %s", code, &stderr)
	}
	for _, name := range []string{"-idle", "-interval", "-count", "-records"} {
		if !strings.Contains(stdout.String(), "  "+name+" ") {
			t.Errorf("%s is not explained:\n%s", name, &stdout)
		}
	}
}

// A proof is worth what it refuses.
func TestProve(t *testing.T) {
	t.Parallel()
	if err := newJournal(5).prove(5); err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		journal journal
		want    string
	}{
		"missing":   {newJournal(4), "4 of 5 records arrived"},
		"more":      {newJournal(6), "6 of 5 records arrived"},
		"gap":       {slices.Delete(newJournal(6), 2, 3), "got record 4 where record 3 belongs"},
		"twice":     {slices.Insert(newJournal(4), 2, newRecord(2)), "got record 2 where record 3 belongs"},
		"out order": {journal{newRecord(2), newRecord(1)}, "got record 2 where record 1 belongs"},
		"damaged":   {damaged(3), "record 3 has the CRC-32C"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.journal.prove(5); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func damaged(number uint64) journal {
	j := newJournal(5)
	j[number-1].payload[0] ^= 1
	return j
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	var wire bytes.Buffer
	if err := writeAnswer(&wire, newJournal(5)); err != nil {
		t.Fatal(err)
	}
	var got journal
	if err := readAnswer(bytes.NewReader(wire.Bytes()), got.add); err != nil {
		t.Fatal(err)
	}
	if err := got.prove(5); err != nil {
		t.Error(err)
	}
	t.Run("cut", func(t *testing.T) {
		for n := range wire.Len() {
			var got journal
			err := readAnswer(bytes.NewReader(wire.Bytes()[:n]), got.add)
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d of %d bytes: %v", n, wire.Len(), err)
			}
		}
	})
	t.Run("damaged", func(t *testing.T) {
		for i := range wire.Len() {
			b := bytes.Clone(wire.Bytes())
			b[i] ^= 0x80
			var got journal
			err := readAnswer(bytes.NewReader(b), got.add)
			if err == nil && got.prove(5) == nil {
				t.Errorf("byte %d: not noticed", i)
			}
		}
	})
}

func TestDamagedRecordIsRefused(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := newPrimary(ctx, options{records: 10})
	if err != nil {
		t.Fatal(err)
	}
	p.journal[2].payload[0] ^= 1
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx) }()

	r := newReplica(p.address(), options{})
	conn, err := r.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = r.follow(ctx, conn, 10)
	if err == nil || !strings.HasPrefix(err.Error(), "replica: record 3 has the CRC-32C") {
		t.Errorf("follow: %v", err)
	}
	if held := r.journal.last(); held != 2 {
		t.Errorf("the replica holds %d records, want 2", held)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
	var stderr bytes.Buffer
	if code := exitCode(err, &stderr); code != exitFailed || stderr.Len() == 0 {
		t.Errorf("exit code %d, want %d; stderr: %q", code, exitFailed, &stderr)
	}
}

func TestUnreadableProofIsAFailure(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	st := &story{Screen: cli.NewScreen(full), records: 5, replica: &replica{journal: newJournal(5)}}
	if err := st.prove(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want %v", err, syscall.ENOSPC)
	}
}

// mayFallSilent skips the test where the kernel refuses that.
func mayFallSilent(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, err := newPrimary(ctx, options{records: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	conn, err := newReplica(p.address(), options{}).dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	netlab.MustSilence(t, conn.(*net.TCPConn))
}
