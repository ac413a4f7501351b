package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// withoutRightsIn returns what docs/run.md has between two strings, in the section
// on containers without rights.
func withoutRightsIn(t *testing.T, begin, end string) string {
	t.Helper()
	text, err := os.ReadFile("../../../../../docs/run.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Containers without rights\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	_, rest, found := strings.Cut(section, begin)
	require.True(t, found, begin)
	between, _, found := strings.Cut(rest, end)
	require.True(t, found, end)
	return between
}

// argv returns a command as JSON has it.
func argv(t *testing.T, text string) (argv []string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &argv))
	return argv
}

// documented is what the recipes have as their policy.
const documented = "idle=1m0s,interval=5s,count=3"

// The commands of the Dockerfile and of the pod work in a file system that has
// nothing else, as the first process of a PID namespace, as nobody, under Docker's
// default profile.
func TestContainer(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needRoot(t)
	needUnshare(t, "-pfm")
	static := filepath.Join(public, "keepalive-static")
	build := exec.Command("go", "build", "-o", static, "../../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	docker, pod := withoutRightsIn(t, "```dockerfile\n", "```"), withoutRightsIn(t, "```yaml\napiVersion", "```")
	entrypoint := regexp.MustCompile(`(?m)^ENTRYPOINT (.*)$`).FindStringSubmatch(docker)
	commands := regexp.MustCompile(`(?m)^    command: (.*)$`).FindAllStringSubmatch(pod, -1)
	require.Len(t, entrypoint, 2)
	require.Len(t, commands, 2)
	install := argv(t, commands[0][1])
	require.Equal(t, []string{"cp", "/keepalive"}, install[:2])
	for keepalive, run := range map[string][]string{"/keepalive": argv(t, entrypoint[1]), install[2]: argv(t, commands[1][1])} {
		t.Run(keepalive, func(t *testing.T) {
			t.Parallel()
			j := alone(t, contained(t, map[string]string{keepalive: static, "/server": testprogram}, append(run, "pair", "-own")))
			assert.Equal(t, both(documented, false), j.rest(t))
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
			assert.Empty(t, j.stderr.String())
		})
	}
}

// contained has a command run in a file system of some files, by their paths there,
// and /proc, as the first process, without rights, under Docker's profile.
func contained(t *testing.T, files map[string]string, argv []string) *exec.Cmd {
	t.Helper()
	root, err := os.MkdirTemp(public, "container")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(root, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "proc"), 0o755))
	profile := docker(t)
	under := profile.filter(t).under(t, &exec.Cmd{Path: argv[0], Args: argv})
	files["/filtered"], files["/filter"] = under.Path, under.Args[2]
	for to, from := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, to)), 0o755))
		out, err := exec.Command("cp", from, filepath.Join(root, to)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	args := append([]string{"--pid", "--fork", "--mount", "--root=" + root, "--mount-proc", "--setgid=65534", "--setuid=65534",
		"/filtered", "filtered", "/filter"}, under.Args[3:]...)
	return exec.Command(netlab.LookPath(t, "unshare"), args...)
}

// The unit of a user's systemd has no mistake, and its command works.
func TestUserUnit(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	unit := strings.ReplaceAll(withoutRightsIn(t, "```ini\n", "```"), "%h/bin/keepalive", keepalivePath)
	unit = strings.ReplaceAll(unit, "%h/bin/client", testprogram)
	path := filepath.Join(t.TempDir(), "client.service")
	analyze := netlab.LookPath(t, "systemd-analyze")
	verify := func(text string) string {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		cmd := exec.Command(analyze, "verify", "--user", path)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	assert.NotContains(t, verify(unit), "client.service:")
	assert.Contains(t, verify(strings.Replace(unit, "KillMode", "Killmode", 1)), "client.service:", "it would notice")

	start := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
	require.Len(t, start, 2)
	j := alone(t, withoutRights(t, exec.Command("sh", "-c", "exec "+start[1]+" pair -own")))
	assert.Equal(t, both(documented, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// The shell of the step runs a script as GitHub's runner has it do.
func TestActions(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	shell := withoutRightsIn(t, "- shell: ", "\n")
	script, err := os.CreateTemp(public, "script")
	require.NoError(t, err)
	defer script.Close()
	require.NoError(t, script.Chmod(0o644))
	_, err = script.WriteString(testprogram + " pair -own\nexit 3\n")
	require.NoError(t, err)
	shell = strings.NewReplacer("./keepalive", keepalivePath, "{0}", script.Name()).Replace(shell)
	j := alone(t, withoutRights(t, exec.Command("sh", "-c", shell)))
	assert.Equal(t, both(documented, false), j.rest(t))
	assert.Equal(t, 3, j.end(t).ExitStatus(), "%s", j.stderr.String())
}
