package e2e_test

import (
	"io"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// usual is the policy that docs/run.md gives the costs of.
const usual = "idle=1m,interval=5s,count=3,user_timeout=1m15s"

// What a connection takes under each method, as a ratio to the same without. The
// programs take turns.
func BenchmarkMethods(b *testing.B) {
	jobs := map[string]*job{
		"none":    start(b, exec.Command(testprogram, "cost")),
		"ebpf":    start(b, command(b, "run", "--method=ebpf", usual, "--", testprogram, "cost")),
		"seccomp": start(b, command(b, "run", "--method=seccomp", usual, "--", testprogram, "cost")),
	}
	times := make(map[string][]int)
	for b.Loop() {
		for name, j := range jobs {
			_, err := io.WriteString(j.in, "\n")
			require.NoError(b, err)
			took, err := strconv.Atoi(j.line(b))
			require.NoError(b, err)
			times[name] = append(times[name], took)
		}
	}
	median := func(name string) float64 {
		slices.Sort(times[name])
		return float64(times[name][len(times[name])/2])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median("none"), "ns-without")
	for _, name := range []string{"ebpf", "seccomp"} {
		b.ReportMetric(median(name)/median("none"), name+"-of-without")
	}
	for _, j := range jobs {
		j.end(b)
	}
}
