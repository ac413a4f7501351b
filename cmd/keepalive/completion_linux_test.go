package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// completions returns what completes the last argument, without descriptions, and
// whether names of files do.
func completions(t testing.TB, args ...string) (found []string, files bool) {
	t.Helper()
	r := runCommand(t, append([]string{"__complete"}, args...)...)
	require.Equal(t, exitDone, r.code, r.stderr)
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	for _, line := range lines[:len(lines)-1] {
		value, _, _ := strings.Cut(line, "\t")
		found = append(found, value)
	}
	return found, lines[len(lines)-1] == ":0"
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, _ := startGo(t, "127.0.0.1:7000")
	for _, args := range []string{"ls --pid", "kill --pid", "defaults --pid", "attach --pid"} {
		found, files := completions(t, append(strings.Fields(args), "")...)
		assert.Contains(t, found, pid(server), args)
		assert.False(t, files, args)
	}
	found, _ := completions(t, "ls", "--pid", "1,")
	assert.Contains(t, found, "1,"+pid(server))
	found, _ = completions(t, "set", "--command", "goser")
	assert.Equal(t, []string{"goserver"}, found)
	found, _ = completions(t, "run", "--user", "roo")
	assert.Equal(t, []string{"root"}, found)

	found, _ = completions(t, "run", "--method", "s")
	assert.Equal(t, []string{"seccomp"}, found)
	found, _ = completions(t, "help", "lo")
	assert.Equal(t, []string{"losses"}, found)
	found, _ = completions(t, "help", "completion", "z")
	assert.Equal(t, []string{"zsh"}, found)

	var keys []string
	for i := range policy.Options {
		keys = append(keys, policy.Options[i].Key+"=")
	}
	for _, args := range []string{"set", "attach --all", "run --user root"} {
		found, _ = completions(t, append(strings.Fields(args), "")...)
		assert.ElementsMatch(t, append([]string{"default", "off"}, keys...), found, args)
	}
	found, _ = completions(t, "set", "off,idle=1m,i")
	assert.Equal(t, []string{"off,idle=1m,interval="}, found)

	for args, want := range map[string]bool{
		"run idle=1m --": true, "completion bash": false, "ls --netns": true, "ls --hang": false,
		"defaults": false, "probe": false, "set off": false, "plan --detect": false,
		"apply --cgroup-root": true, "apply --pin-dir": true, "help ls": false, "help nosuch": false,
	} {
		found, files := completions(t, append(strings.Fields(args), "")...)
		assert.Empty(t, found, args)
		assert.Equal(t, want, files, args)
	}
}

// Each flag with a value either has a completer, or tells whether it is a file.
func TestEveryFlagIsCompleted(t *testing.T) {
	t.Parallel()
	root := newRoot()
	addCompletion(root)
	for _, c := range root.Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			_, found := c.GetFlagCompletionFunc(f.Name)
			assert.Equal(t, f.NoOptDefVal == "", found, "%s --%s", c.CommandPath(), f.Name)
		})
		assert.NotNil(t, c.ValidArgsFunction, c.CommandPath())
	}
}

// Names of files complete what a usage calls a file, alone or among others.
func TestFilesAreCompleted(t *testing.T) {
	t.Parallel()
	for use, want := range map[string]cobra.ShellCompDirective{
		"check FILE|DIRECTORY...": cobra.ShellCompDirectiveDefault,
		"check [FLAG...] FILE":    cobra.ShellCompDirectiveNoFileComp, // which is there
		"check [FILE...]":         cobra.ShellCompDirectiveDefault,
		"check ADDRESS...":        cobra.ShellCompDirectiveNoFileComp,
		"check":                   cobra.ShellCompDirectiveNoFileComp,
	} {
		_, directive := completeArgument(&cobra.Command{Use: use}, []string{"first"}, "")
		assert.Equal(t, want, directive, use)
	}
}

// Bash inserts commas as they are, in each way in which cobra's script escapes: see
// the callers of printf there when this fails.
func TestBashKeepsCommas(t *testing.T) {
	t.Parallel()
	script := runCommand(t, "completion", "bash").stdout
	assert.Equal(t, 1, strings.Count(script, `comp=${comp//\\,/,}`))
	assert.Equal(t, 3, strings.Count(script, `COMPREPLY=("${COMPREPLY[@]//\\,/,}")`))
	assert.NotEqual(t, script, runCommand(t, "completion", "bash", "--no-descriptions").stdout)
}
