package e2e_test

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// usual is the policy that docs/run.md gives the costs of.
const usual = "idle=1m,interval=5s,count=3,user_timeout=1m15s"

// byMethod starts a program without a policy, by eBPF and by seccomp.
func byMethod(b *testing.B, program func() []string) map[string]*job {
	jobs := make(map[string]*job)
	for _, method := range []string{"none", "ebpf", "seccomp"} {
		argv := program()
		cmd := exec.Command(argv[0], argv[1:]...)
		if method != "none" {
			cmd = command(b, append([]string{"run", "--method=" + method, usual, "--"}, argv...)...)
		}
		jobs[method] = start(b, cmd)
	}
	return jobs
}

// A connection over loopback, with socket(2), opened, accepted and closed, under
// each method. The programs take turns. More than 2.2 times what it takes without
// is too much; a machine that others share gets half as much again.
func BenchmarkMethods(b *testing.B) {
	jobs := byMethod(b, func() []string { return []string{testprogram, "cost"} })
	times := make(map[string][]float64)
	for b.Loop() {
		for name, j := range jobs {
			_, err := io.WriteString(j.in, "\n")
			require.NoError(b, err)
			took, err := strconv.ParseFloat(j.line(b), 64)
			require.NoError(b, err)
			times[name] = append(times[name], took)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(times["none"]), "ns-without")
	reportRatios(b, times)
	require.Less(b, median(times["seccomp"])/median(times["none"]), 3.3)
	for _, j := range jobs {
		j.end(b)
	}
}

func median(times []float64) float64 {
	slices.Sort(times)
	return times[len(times)/2]
}

func reportRatios(b *testing.B, results map[string][]float64) {
	for _, name := range []string{"ebpf", "seccomp"} {
		b.ReportMetric(median(results[name])/median(results["none"]), name+"-of-without")
	}
}

// Redis with clients that stay connected: the time that a request takes under each
// method. The servers take turns.
func BenchmarkRedis(b *testing.B) {
	server, client := netlab.LookPath(b, "redis-server"), netlab.LookPath(b, "redis-benchmark")
	var ports []int
	jobs := byMethod(b, func() []string {
		ports = append(ports, freePort(b))
		return []string{server, "--port", fmt.Sprint(ports[len(ports)-1]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"}
	})
	for _, port := range ports {
		await(b, func() bool {
			conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
	rate := regexp.MustCompile(`GET: ([0-9.]+) requests per second`)
	times := make(map[string][]float64)
	for b.Loop() {
		for i, name := range []string{"none", "ebpf", "seccomp"} {
			out, err := exec.Command(client, "-p", fmt.Sprint(ports[i]), "-t", "get", "-n", "50000", "-q").CombinedOutput()
			require.NoError(b, err, "%s", out)
			found := rate.FindAllSubmatch(out, -1)
			require.NotEmpty(b, found, "%s", out)
			perSecond, err := strconv.ParseFloat(string(found[len(found)-1][1]), 64)
			require.NoError(b, err)
			times[name] = append(times[name], 1/perSecond)
		}
	}
	b.ReportMetric(0, "ns/op")
	reportRatios(b, times)
	for _, j := range jobs {
		j.Process.Signal(unix.SIGTERM)
		j.end(b)
	}
}

// freePort returns a port that was free a moment ago.
func freePort(b *testing.B) int {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}
