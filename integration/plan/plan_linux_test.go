// Package plan_test runs programs with the lines that keepalive plan prints,
// and times how long they take to give up a peer that has fallen silent.
package plan_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var updatePlan = flag.Bool("update-plan", false, "write what TestPlan measures to docs/plan.md")

func TestMain(m *testing.M) { netlab.Main(m) }

// A demand is what keepalive plan is asked for.
type demand struct {
	detect  time.Duration
	unacked bool
}

var demands = []demand{{12 * time.Second, false}, {45 * time.Second, false}, {12 * time.Second, true}, {45 * time.Second, true}}

func (d demand) String() string {
	if d.unacked {
		return fmt.Sprintf("in flight, %.0f s", d.detect.Seconds())
	}
	return fmt.Sprintf("idle, %.0f s", d.detect.Seconds())
}

// latest is how late a program may give up.
func (d demand) latest() time.Duration { return d.detect + d.detect/50 + time.Second }

// earliest is before what the printed lines mean: until then something else has
// ended the connection. A user timeout is longer than tcp_retries2, which takes up
// to two thirds of the demand and would hide that a program has none.
func (d demand) earliest(by string) time.Duration {
	if d.unacked && by == byTimeout {
		return d.detect * 3 / 4
	}
	return d.detect / 5
}

// A plan is what keepalive plan prints for other programs, by their names.
type plan map[string][]string

// plans returns a plan for each of the demands.
func plans(t *testing.T) map[demand]plan {
	t.Helper()
	command := filepath.Join(t.TempDir(), "keepalive")
	out, err := exec.Command("go", "-C", "../../cmd/keepalive", "build", "-o", command, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	all := make(map[demand]plan)
	for _, d := range demands {
		out, err := exec.Command(command, "plan", "--json", "--detect", d.detect.String(), fmt.Sprintf("--unacked=%v", d.unacked)).Output()
		require.NoError(t, err)
		var printed struct {
			Elsewhere []struct {
				Name  string
				Lines []string
			}
		}
		require.NoError(t, json.Unmarshal(out, &printed))
		all[d] = make(plan)
		for _, e := range printed.Elsewhere {
			all[d][e.Name] = e.Lines
		}
	}
	return all
}

// settings returns what a program is to be given.
func (p plan) settings(t *testing.T, program string) (lines []string) {
	t.Helper()
	for _, line := range p[program] {
		if !isComment(line) {
			lines = append(lines, line)
		}
	}
	require.NotEmpty(t, lines, program)
	return lines
}

func isComment(line string) bool {
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//")
}

// arguments returns the settings as a program's arguments, each behind a flag.
func (p plan) arguments(t *testing.T, program, flag string) (args []string) {
	t.Helper()
	for _, line := range p.settings(t, program) {
		args = append(args, flag, strings.ReplaceAll(line, " ", ""))
	}
	return args
}

// comment returns what follows a text in a comment.
func (p plan) comment(program, text string) string {
	for _, line := range p[program] {
		if _, after, found := strings.Cut(line, text); found && isComment(line) {
			return after
		}
	}
	return ""
}

// A program is a row of the table, or two where both of its sides are measured.
type program struct {
	name  string
	start func(*testing.T, *scene) []end
}

var programs = []program{
	{"PostgreSQL", postgres},
	{"PgBouncer to clients", bouncerToClients},
	{"PgBouncer to servers", bouncerToServers},
	{"Redis", redis},
	{"MariaDB", mariaDB},
	{"nginx", nginx},
	{"HAProxy", haproxy},
	{"OpenSSH", openSSH},
	{"systemd", systemd},
	{"Java", java},
	{"Python", python},
	{"Node.js", node},
	{"Rust", rust},
}

// TestPlan holds every program to the demand, and compares the table of what it
// measured with docs/plan.md.
func TestPlan(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	all := plans(t)
	cluster := newCluster(t)
	crate := newCrate(t, all)
	var mu sync.Mutex
	measured := make(map[string]map[demand]result) // by row
	t.Run("all", func(t *testing.T) {
		for _, p := range programs {
			for _, d := range demands {
				t.Run(p.name+", "+d.String(), func(t *testing.T) {
					t.Parallel()
					s := &scene{Lab: netlab.NewLab(t, netlab.Rules{}), demand: d, plan: all[d], cluster: cluster, crate: crate}
					for row, r := range s.measure(t, p.start(t, s)) {
						mu.Lock()
						if measured[row] == nil {
							measured[row] = make(map[demand]result)
						}
						measured[row][d] = r
						mu.Unlock()
					}
				})
			}
		}
	})
	complete := len(measured) == len(rows)
	for _, row := range rows {
		complete = complete && len(measured[row]) == len(demands)
	}
	if !complete {
		return // -run chose some, or one can't run here and said so
	}
	compare(t, table(measured))
}

// rows are the names of what start returns, in the order of the table.
var rows = []string{"PostgreSQL", "libpq", "PgBouncer, to clients", "PgBouncer, to servers", "Redis", "MariaDB",
	"nginx, to clients", "nginx, to upstreams", "HAProxy, to clients", "HAProxy, to servers", "sshd", "ssh", "systemd .socket",
	"Java", "Python", "Node.js", "Rust"}

func table(measured map[string]map[demand]result) string {
	text := "| program |"
	rule := "| --- |"
	for _, d := range demands {
		text += fmt.Sprintf(" %v |", d)
		rule += " --- |"
	}
	text += " data in flight is bounded by |\n" + rule + " --- |\n"
	for _, row := range rows {
		text += "| " + row + " |"
		for _, d := range demands {
			text += fmt.Sprintf(" %.1f s |", measured[row][d].took.Seconds())
		}
		text += " " + measured[row][demands[len(demands)-1]].by + " |\n"
	}
	return text
}

// compare asserts that docs/plan.md has this table but for the times that were
// measured, or writes it there.
func compare(t *testing.T, table string) {
	t.Helper()
	t.Log("\n" + table)
	const path = "../../docs/plan.md"
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	kept := regexp.MustCompile(`(?m)^\| program \| idle.*\n(\|.*\n)+`)
	if *updatePlan {
		require.NoError(t, os.WriteFile(path, kept.ReplaceAllLiteral(doc, []byte(table)), 0))
		return
	}
	untimed := func(s string) string { return regexp.MustCompile(`\d+\.\d s`).ReplaceAllString(s, "… s") }
	assert.Equal(t, untimed(table), untimed(string(kept.Find(doc))), "go -C integration test ./plan -run '^TestPlan$' -update-plan")
}
