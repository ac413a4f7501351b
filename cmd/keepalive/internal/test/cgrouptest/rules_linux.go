package cgrouptest

import (
	"errors"
	"sync"
	"testing"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// NeedRules skips a test where the kernel or the caller's rights do not allow
// [cgrouppolicy.Rules].
func NeedRules(t testing.TB) {
	t.Helper()
	netlab.SkipBefore(t, 6, 1, "what rules for a machine take")
	if err := tryRules(); err != nil {
		netlab.Skip(t, err)
	}
}

var tryRules = sync.OnceValue(func() (err error) {
	own, err := cgroup.Own()
	if err != nil {
		return err
	}
	defer own.Close()
	group, err := own.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	r, err := cgrouppolicy.NewRules(nil)
	if err != nil {
		return err
	}
	defer r.Close()
	dir, err := group.Directory()
	if err != nil {
		return err
	}
	defer dir.Close()
	return r.Attach(dir)
})
