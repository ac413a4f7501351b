//go:build !keepalive_portable

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
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
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
	maySilence(t)
	for name, test := range map[string]struct {
		policy, option, bound string
		least                 float64 // seconds with data in flight
	}{
		"MaxRTO":      {"max_rto=1s", `TCP_RTO_MAX_MS +1s`, `14\.4s \(tcp_retries2 and TCP_RTO_MAX_MS\)`, 14.4},
		"UserTimeout": {"user_timeout=1.5s", `TCP_USER_TIMEOUT +1\.5s`, `1\.5s \(TCP_USER_TIMEOUT\)`, 1.4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "MaxRTO" {
				tcptest.NeedMaxRTO(t)
			}
			survivesSilence(t, "idle=1s,interval=1s,count=1,"+test.policy, test.option, test.bound, test.least)
		})
	}
}

// survivesSilence runs the program with a policy that holds an option, and that
// bounds the time with data in flight.
func survivesSilence(t *testing.T, policy, option, bound string, least float64) {
	t.Helper()
	cmd := program(t, "-policy", policy, "-records", "11")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", &stderr)
	}
	rest := stdout.String()
	bounds := []float64{1.4, least}
	for _, want := range []string{ // in this order
		`TCP_KEEPIDLE +1s +\S+\n`,
		`TCP_KEEPCNT +1 +\d+\n`,
		option + ` +\S+\n`,
		`replica +connected, asks for what follows record 0\n`,

		`replica +holds records 1 to 5 of 11, the connection is idle\n`,
		`keepalive +is to notice that after 2s: ` + policy + `\n`,
		`silence +0\.\d s since the last answer, 0 of 1 probes unanswered\n`,
		`silence +1\.\d s since the last answer, 1 of 1 probes unanswered: suspect\n`,
		`kernel +gives the primary up after (\S+) s: Read fails with "connection timed out"\n`,
		`net's defaults would have taken \S+, the system's \d`,
		`replica +dials again, asks for what follows record 5\n`,

		`replica +holds records 1 to 8 of 11, and confirms them\n`,
		`kernel +does not probe then, but is to give up after ` + bound + `\n`,
		`silence +\d+\.\d s since the last answer, retransmitted [1-9]\d* times: suspect\n`,
		`kernel +gives the primary up after (\S+) s: Read fails with "connection timed out"\n`,
		`net's defaults would have taken .* \(tcp_retries2\)\n`,
		`replica +dials again, asks for what follows record 8\n`,

		`replica +holds records 1 to 11\n`,
		`proof +11 of 11 records arrived, each once and in order, every CRC-32C right\n$`,
	} {
		found := regexp.MustCompile(want).FindStringSubmatchIndex(rest)
		if found == nil {
			t.Fatalf("no further line matches %q in\n%s", want, &stdout)
		}
		if len(found) > 2 {
			atLeast(t, rest[found[2]:found[3]], bounds[0]) // that the kernel may be late is no error here
			bounds = bounds[1:]
		}
		rest = rest[found[1]:]
	}
}

func atLeast(t *testing.T, seconds string, least float64) {
	t.Helper()
	if took, err := strconv.ParseFloat(seconds, 64); err != nil || took < least {
		t.Errorf("the kernel gave the primary up after %s s, want %v or more", seconds, least)
	}
}

// The default policy does not end live peers, if the kernel has another bound for
// data in flight.
func TestDefaultPolicy(t *testing.T) {
	t.Parallel()
	policy, err := defaultPolicy()
	if err != nil {
		t.Fatal(err)
	}
	if hasMaxRTO := (keepalive.Config{MaxRTO: time.Second}).Supported().MaxRTO != 0; (policy.MaxRTO != 0) != hasMaxRTO || (policy.UserTimeout == 0) != hasMaxRTO {
		t.Errorf("got %v, the kernel has MaxRTO: %t", policy, hasMaxRTO)
	}
	if d, ok := policy.DetectionTime(); !ok || d > 6*time.Second {
		t.Errorf("%v notices an idle peer after %v, %t", policy, d, ok)
	}
	if d, ok := policy.UnackedTime(); !ok || d > 16*time.Second {
		t.Errorf("%v notices data in flight after %v, %t", policy, d, ok)
	}
}

// The kernel would end the silence after hours: what ends it is the signal.
func TestInterruptedDuringSilence(t *testing.T) {
	t.Parallel()
	maySilence(t)
	cmd := program(t, "-policy", "idle=9h", "-records", "10")
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
	var stderr bytes.Buffer
	if code := run(ctx, nil, io.Discard, &stderr); code != exitInterrupted {
		t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, &stderr)
	}
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args string
		want string
	}{
		"policy":        {"-policy idle=10h", "Idle is 10h0m0s, want 1s to 9h6m7s"},
		"no unit":       {"-policy idle=5", "idle=5"},
		"few records":   {"-records 3", "-records is 3, want 4 to 1000000"},
		"many records":  {"-records 1000001", "-records is 1000001, want 4 to 1000000"},
		"no number":     {"-records -1", "-records number"},
		"argument":      {"now", `unexpected argument "now", want flags only`},
		"unknown":       {"-idle 5s", "-policy policy"},
		"several words": {"-policy off 4", `unexpected argument "4"`},
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
	if code := run(t.Context(), []string{"-h"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, want 0; stderr: %s", code, &stderr)
	}
	for _, name := range []string{"-policy", "-records"} {
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
	j := newJournal(10)
	j[2].payload[0] ^= 1
	var got journal
	err := copyFrom(t, j, &got)
	if err == nil || !strings.HasPrefix(err.Error(), "replica: record 3 has the CRC-32C") {
		t.Errorf("run: %v", err)
	}
	if got.last() != 2 {
		t.Errorf("the replica holds %d records, want 2", got.last())
	}
}

func TestCopyOverSeveralAnswers(t *testing.T) {
	t.Parallel()
	var got journal
	if err := copyFrom(t, newJournal(2*batch+1), &got); err != nil {
		t.Error(err)
	}
	if err := got.prove(2*batch + 1); err != nil {
		t.Error(err)
	}
}

// fixed is a source that has all its records from the start.
type fixed journal

func (f fixed) after(ctx context.Context, number uint64, limit int) ([]record, error) {
	return journal(f).after(number, limit), nil
}

// copyFrom copies a journal over a connection, and returns what the replica says.
func copyFrom(t *testing.T, from journal, to *journal) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := listen(ctx, "127.0.0.1:0", keepalive.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p := &primary{records: fixed(from), failed: func(err error) { t.Error(err) }}
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	r := &replica{
		primary: ln.Addr().String(), records: to,
		connected: func(net.Conn) {},
		lost:      func(err error) { t.Error(err) },
	}
	return r.run(ctx, from.last())
}

// One replica that breaks off does not end the others.
func TestReplicaBreaksOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := listen(ctx, "127.0.0.1:0", keepalive.Config{})
	if err != nil {
		t.Fatal(err)
	}
	failed, served := make(chan error, 1), make(chan error, 1)
	p := &primary{records: fixed(newJournal(1)), failed: func(err error) { failed <- err }}
	go func() { served <- p.serve(ctx, ln) }()
	dial := func(request string) net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	other := dial("\x00\x00\x00\x00\x00\x00\x00\x00")
	dial("half").Close()
	if err := <-failed; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("failed: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
	var got journal
	if err := readAnswer(other, got.add); err != nil || got.last() != 1 {
		t.Errorf("%d records, %v", got.last(), err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := readAnswer(other, got.add); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want %v", err, io.EOF)
	}
}

func TestUnreadableProofIsAFailure(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	st := &story{Screen: NewScreen(full), options: options{records: 5}, copied: &witness{journal: newJournal(5)}}
	if err := st.prove(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want %v", err, syscall.ENOSPC)
	}
}

// What a program would have is compiled as in a module of somebody else.
func TestCanBeCopied(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		netlab.Skip(t, err)
	}
	dir := t.TempDir()
	for _, name := range []string{"primary.go", "replica.go", "journal.go", "record.go", "../../go.sum"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// The rest of the program is its own.
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/seed-7be6acb7/keepalive"
	for _, args := range [][]string{
		{"mod", "init", "example.com/copied"},
		{"mod", "edit", "-require=" + module + "@v0.0.0", "-replace=" + module + "=" + root},
		{"build", "-mod=mod", "-o", os.DevNull, "."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// maySilence skips the test where no peer can fall silent.
func maySilence(t *testing.T) {
	t.Helper()
	ln, err := listen(t.Context(), "127.0.0.1:0", keepalive.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	netlab.MustSilence(t, conn.(*net.TCPConn))
	conn.(*net.TCPConn).SetLinger(0)
}
