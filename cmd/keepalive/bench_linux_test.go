package main

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/benchpair"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

var crowd = flag.Int("crowd", 50000, "how many sockets BenchmarkLs has")

// ls --json and ss list the same sockets in turns. The metrics are the ratios of
// the medians of the time, of the processor time, and of the memory at its peak.
// With five turns or more the first and the last may not exceed 1.
func BenchmarkLs(b *testing.B) {
	netlab.NewNamespace(b)
	const processes = 4 // as many as a limit of 20,000 open files asks for
	for range processes {
		cmd := exec.Command(program(b, "crowd"), strconv.Itoa(*crowd/processes/2))
		stdin, err := cmd.StdinPipe()
		require.NoError(b, err)
		b.Cleanup(func() { stdin.Close() })
		start(b, cmd).await(b, "ready")
	}
	out, err := os.Create(filepath.Join(b.TempDir(), "out"))
	require.NoError(b, err)
	defer out.Close()
	ls := lister{b: b, out: out, args: []string{program(b, "keepalive"), "ls", "--json"}}
	ss := lister{b: b, out: out, args: []string{netlab.LookPath(b, "ss"), "-tnpoHi"}}
	medians := benchpair.Medians(b.N, benchpair.Contender{Do: ls.run}, benchpair.Contender{Do: ss.run})
	took, memory := float64(medians[0])/float64(medians[1]), float64(ls.memory)/float64(ss.memory)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took, "of-ss")
	b.ReportMetric(float64(ls.processor)/float64(ss.processor), "of-ss-processor")
	b.ReportMetric(memory, "of-ss-memory")
	b.ReportMetric(float64(medians[0].Milliseconds()), "ms")
	b.ReportMetric(float64(ls.memory>>10), "MB")
	if b.N >= 5 && max(took, memory) > 1 {
		b.Errorf("ls takes %.2f of the time of ss and %.2f of its memory, want at most 1", took, memory)
	}
}

// lister is a program that lists sockets.
type lister struct {
	b         *testing.B
	args      []string
	out       *os.File
	processor time.Duration
	memory    int64 // in KB
}

func (l *lister) run() {
	cmd := exec.Command(l.args[0], l.args[1:]...)
	cmd.Stdout = l.out
	require.NoError(l.b, cmd.Run())
	written, err := l.out.Seek(0, io.SeekCurrent)
	require.NoError(l.b, err)
	require.Greater(l.b, written, int64(*crowd)*100, "a line for each socket")
	_, err = l.out.Seek(0, io.SeekStart)
	require.NoError(l.b, err)
	l.processor += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	l.memory = max(l.memory, int64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss))
}
