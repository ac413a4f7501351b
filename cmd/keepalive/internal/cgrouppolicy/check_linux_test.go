package cgrouppolicy

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// What the verifier refuses is no lack of rights.
func TestVerifierRefuses(t *testing.T) {
	t.Parallel()
	_, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SockOps, Instructions: asm.Instructions{asm.Return()}})
	if _, ran := errors.AsType[*ebpf.VerifierError](err); !ran {
		netlab.Skip(t, err)
	}
	require.ErrorIs(t, err, unix.EACCES)
	assert.ErrorContains(t, explain(err), "eBPF: the verifier of this kernel refuses a program, which is a defect of keepalive: ")
	assert.ErrorContains(t, explain(err), "R0 !read_ok")
}

// An option that eBPF can't set is found before anything happens, whichever it is.
// No kernel lets eBPF set TCP_DEFER_ACCEPT.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	own, err := cgroup.Own()
	if err != nil {
		netlab.Skip(t, err)
	}
	defer own.Close()
	dir, err := own.Directory()
	require.NoError(t, err)
	defer dir.Close()
	taken := option{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3, "Linux 5.9"}
	refused := option{"TCP_DEFER_ACCEPT", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1, "another kernel"}
	if err := check(dir, []option{taken}); err != nil {
		netlab.Skip(t, err)
	}
	for _, options := range [][]option{{refused}, {taken, refused}, {refused, taken}, {taken, refused, taken}} {
		assert.EqualError(t, check(dir, options), "eBPF can't set TCP_DEFER_ACCEPT on this kernel: it needs another kernel")
	}
}
