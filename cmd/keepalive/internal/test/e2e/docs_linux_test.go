package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// recipes returns the scripts of docs/run.md that attach to something, by the
// program that they ask for it.
func recipes(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../../../docs/run.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Which group\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	scripts := make(map[string]string)
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		name := regexp.MustCompile(`docker|crictl|--unit`).FindString(block[1])
		scripts[name] = block[1]
	}
	require.Len(t, scripts, 3)
	return scripts
}

// The recipes of docs/run.md find the group that they name, and fail where there
// is none: where the container is gone, and where its services have groups of
// cgroup v1. They never take the root.
func TestRecipes(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	if os.Getuid() != 0 {
		netlab.Skip(t, fmt.Errorf("only root mounts"))
	}
	g, pids := node(t)
	fakes := t.TempDir()
	fake := func(name, script string) {
		writeExecutable(t, filepath.Join(fakes, name), "#!/bin/sh\n"+script+"\n")
	}
	fake("keepalive", `exec `+keepalivePath+` "$@" --dry-run`)
	fake("docker", `echo "$FOUND"`)
	fake("crictl", `echo "$FOUND"`)
	onV1 := filepath.Join(fakes, "v1")
	require.NoError(t, os.WriteFile(onV1, []byte("1:name=systemd:/kubepods/pod1/2\n"), 0o644))
	for name, tt := range map[string]struct {
		pid  any    // what the container's engine answers
		on   string // the process's cgroup file, in place of the kernel's
		want map[string]string
	}{
		"v2":           {pids[container], "", map[string]string{"docker": container, "crictl": pod, "--unit": service}},
		"gone":         {2000000000, "", map[string]string{"--unit": service}},
		"stopped":      {0, "", map[string]string{"--unit": service}},
		"unknown":      {"", "", map[string]string{"--unit": service}},
		"v1 beside v2": {pids[""], "", map[string]string{"--unit": service}},
		"v1":           {pids[container], onV1, map[string]string{"--unit": service}},
	} {
		for recipe, script := range recipes(t) {
			if tt.on != "" {
				script = fmt.Sprintf("mount --bind %s /proc/%v/cgroup || exit 99\n", tt.on, tt.pid) + script
			}
			cmd := exec.Command("/bin/sh", "-c", script)
			cmd.Env = append(os.Environ(), "PATH="+fakes+":"+os.Getenv("PATH"), fmt.Sprint("FOUND=", tt.pid), "container=web", "GORACE=atexit_sleep_ms=0")
			out, said, code := inNamespaceOf(t, g, cmd)
			if want := tt.want[recipe]; want != "" {
				assert.Equal(t, want+": 1 process, 0 open connections.\n", out, "%s on %s: %s", recipe, name, said)
				assert.Zero(t, code)
				continue
			}
			assert.Empty(t, out, "%s on %s", recipe, name)
			assert.Contains(t, []int{exitProblem, exitUsage}, code, "%s on %s: %s", recipe, name, said)
			assert.Contains(t, said, "keepalive: ", "%s on %s", recipe, name)
		}
	}
}
