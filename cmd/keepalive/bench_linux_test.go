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

// What ls may take. Ratios are to ss -tnpoHi, which lists the same sockets in turns.
// They are twice what docs/scale.md says, as other programs may run.
const (
	mostJSON, mostSuspect, mostMemory = 0.5, 0.2, 2

	// Of each socket, where ss is left out.
	mostEachJSON, mostEachSuspect = 16 * time.Microsecond, 5 * time.Microsecond

	// ss looks up each socket in a table of fixed size, so that its time grows
	// with the square of their number: it takes a minute for this many.
	mostOfSS = 300000
)

// ls --json, ls --suspect and ss list the same sockets in turns. The metrics are the
// ratios of the medians of the time, of the processor time and of the memory at its
// peak, and above 300,000 sockets the time.
func BenchmarkLs(b *testing.B) {
	netlab.NewNamespace(b)
	processes := max(4, (*crowd+17999)/18000) // as a limit of 20,000 open files asks for
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
	listed := int64(*crowd) * 100 // a line for each socket
	listers := []*lister{
		{name: "json", least: listed, args: []string{program(b, "keepalive"), "ls", "--json"}},
		{name: "suspect", args: []string{program(b, "keepalive"), "ls", "--suspect"}},
		{name: "ss", least: listed, args: []string{netlab.LookPath(b, "ss"), "-tnpoHi"}},
	}
	if *crowd > mostOfSS {
		listers = listers[:2]
	}
	var contenders []benchpair.Contender
	for _, l := range listers {
		l.b, l.out = b, out
		contenders = append(contenders, benchpair.Contender{Do: l.run})
	}
	medians := benchpair.Medians(b.N, contenders...)
	b.ReportMetric(0, "ns/op")
	for i, l := range listers {
		b.ReportMetric(medians[i].Seconds(), l.name+"-s")
		b.ReportMetric(float64(l.memory>>10), l.name+"-MB")
	}
	if len(listers) == 3 {
		compareToSS(b, listers, medians)
		return
	}
	for i, most := range []time.Duration{mostEachJSON, mostEachSuspect} {
		if each := medians[i] / time.Duration(*crowd); b.N >= 4 && each > most {
			b.Errorf("ls --%s takes %v for each socket, want at most %v", listers[i].name, each, most)
		}
	}
}

func compareToSS(b *testing.B, listers []*lister, medians []time.Duration) {
	ss := listers[2]
	for i, most := range []float64{mostJSON, mostSuspect} {
		l, took := listers[i], medians[i].Seconds()/medians[2].Seconds()
		memory := float64(l.memory) / float64(ss.memory)
		b.ReportMetric(took, l.name+"-of-ss")
		b.ReportMetric(float64(l.processor)/float64(ss.processor), l.name+"-of-ss-processor")
		b.ReportMetric(memory, l.name+"-of-ss-memory")
		if b.N >= 4 && (took > most || memory > mostMemory) {
			b.Errorf("ls --%s takes %.2f of the time of ss and %.2f of its memory, want at most %.2f and %d", l.name, took, memory, most, mostMemory)
		}
	}
}

// lister is a program that lists sockets.
type lister struct {
	b         *testing.B
	name      string
	args      []string
	out       *os.File
	processor time.Duration
	memory    int64 // in KB
	least     int64 // bytes of output
}

func (l *lister) run() {
	cmd := exec.Command(l.args[0], l.args[1:]...)
	cmd.Stdout = l.out
	require.NoError(l.b, cmd.Run())
	written, err := l.out.Seek(0, io.SeekCurrent)
	require.NoError(l.b, err)
	require.GreaterOrEqual(l.b, written, l.least)
	_, err = l.out.Seek(0, io.SeekStart)
	require.NoError(l.b, err)
	l.processor += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	l.memory = max(l.memory, int64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss))
}
