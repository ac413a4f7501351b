package e2e_test

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A profile is one of Docker's seccomp profiles.
type profile struct {
	DefaultErrnoRet uint32
	Syscalls        []profileRule
}

type profileRule struct {
	Names    []string
	Action   string
	ErrnoRet uint32
	Args     []profileArg
	Includes profileCondition
	Excludes profileCondition
}

type profileArg struct {
	Index    uint32
	Value    uint64
	ValueTwo uint64
	Op       string
}

type profileCondition struct {
	Arches, Caps []string
}

// docker returns Docker's default profile.
func docker(t *testing.T) (p profile) {
	t.Helper()
	text, err := json.Marshal(profiles.DefaultProfile())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &p))
	return p
}

// filter returns the profile as a filter of the native ABI, as for a container that
// has a capability of the list, or none, in place of Docker's default ones: no
// rule mentions those, but for CAP_SYS_CHROOT. Other ABIs are refused.
func (p *profile) filter(t *testing.T, capabilities ...string) filter {
	numbers := syscallNumbers(t)
	var allow, refuse filter
	for _, r := range p.Syscalls {
		if !r.applies(capabilities) {
			continue
		}
		for _, name := range r.Names {
			nr, ok := numbers[name]
			switch {
			case !ok: // of another architecture
			case r.Action == "SCMP_ACT_ALLOW":
				allow = append(allow, r.compile(t, nr, unix.SECCOMP_RET_ALLOW)...)
			default:
				refuse = append(refuse, r.compile(t, nr, unix.SECCOMP_RET_ERRNO|r.ErrnoRet)...)
			}
		}
	}
	f := slices.Concat(onlyNative, allow, refuse)
	return append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | p.DefaultErrnoRet})
}

func (r *profileRule) applies(capabilities []string) bool {
	has := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(capabilities, name) })
	}
	switch {
	case len(r.Includes.Caps) > 0 && !has(r.Includes.Caps), has(r.Excludes.Caps):
		return false
	case len(r.Includes.Arches) > 0 && !slices.Contains(r.Includes.Arches, runtime.GOARCH):
		return false
	}
	return !slices.Contains(r.Excludes.Arches, runtime.GOARCH)
}

// compile returns a rule for one system call, after which its number is loaded.
func (r *profileRule) compile(t *testing.T, nr, action uint32) (f filter) {
	t.Helper()
	ret := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	if len(r.Args) == 0 {
		return filter{{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1}, ret}
	}
	require.Len(t, r.Args, 1)
	const args = 16
	a := r.Args[0]
	f = filter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: args + 8*a.Index}}
	switch a.Op { // the values fit the lower half, and the kernel takes the arguments for int
	case "SCMP_CMP_EQ":
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(a.Value), Jf: 1})
	case "SCMP_CMP_LT":
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: uint32(a.Value), Jt: 1})
	case "SCMP_CMP_GT":
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: uint32(a.Value), Jf: 1})
	case "SCMP_CMP_MASKED_EQ":
		f = append(f,
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: uint32(a.Value)},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(a.ValueTwo), Jf: 1})
	default:
		t.Fatal("unknown operator", a.Op)
	}
	f = append(f, ret)
	return slices.Concat(
		filter{{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: uint8(len(f) + 1)}},
		f, filter{loadNr})
}

// A filter is a seccomp filter.
type filter []unix.SockFilter

var loadNr = unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}

var onlyNative = filter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4}, // the architecture
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH], Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
	loadNr,
}

// syscallNumbers returns the numbers of system calls by their names.
func syscallNumbers(t *testing.T) map[string]uint32 {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+runtime.GOARCH+".go"))
	require.NoError(t, err)
	numbers := make(map[string]uint32)
	for _, line := range regexp.MustCompile(`SYS_(\w+)\s+= (\d+)`).FindAllStringSubmatch(string(text), -1) {
		nr, err := strconv.ParseUint(line[2], 10, 32)
		require.NoError(t, err)
		numbers[strings.ToLower(line[1])] = uint32(nr)
	}
	return numbers
}

// refusing has a system call fail, before the rest of a filter.
func (f filter) refusing(nr uint32, errno unix.Errno) filter {
	return slices.Concat(filter{
		loadNr,
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
	}, f)
}

// before519 refuses what seccomp(2) has had since Linux 5.19, as older kernels do.
func (f filter) before519() filter {
	const args = 16
	return slices.Concat(filter{
		loadNr,
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SECCOMP, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: args + 8}, // the flags
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
	}, f)
}

// anything is a filter that allows every call.
var anything = filter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}

// under has a command run under a filter.
func (f filter) under(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	file, err := os.CreateTemp(public, "filter")
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Chmod(0o644))
	require.NoError(t, binary.Write(file, binary.NativeEndian, []unix.SockFilter(f)))
	cmd.Args = append([]string{testprogram, "filtered", file.Name(), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = testprogram
	return cmd
}
