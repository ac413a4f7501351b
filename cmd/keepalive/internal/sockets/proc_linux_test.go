package sockets

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCheckProc(t *testing.T) {
	t.Parallel()
	assert.NoError(t, checkProc("/proc"))
	assert.ErrorContains(t, checkProc(t.TempDir()), "is not a proc file system")
}

// Lines as of proc_pid_mountinfo(5), by Linux 6.18 and by 5.4.
func TestHidepid(t *testing.T) {
	t.Parallel()
	const mountinfo = `22 1 0:20 / /sys rw,nosuid shared:6 - sysfs sysfs rw
23 1 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
24 1 0:22 / /mnt rw - proc none rw,gid=27,hidepid=invisible
25 1 0:23 / /mnt\040too rw shared:1 master:2 - proc proc rw,hidepid=2
26 1 0:24 / /dev rw - tmpfs hidepid=2 rw,mode=755
`
	type options struct {
		hidepid string
		gid     int
	}
	for device, want := range map[string]options{
		"0:20": {}, "0:21": {}, "0:22": {"invisible", 27}, "0:23": {"2", 0}, "0:24": {}, "0:2": {},
	} {
		hidepid, gid := procOptions(mountinfo, device)
		assert.Equal(t, want, options{hidepid, gid}, device)
	}
	for _, test := range []struct {
		hidepid           string
		inGroup, mayTrace bool
		want              bool
	}{
		{"", false, false, false},
		{"1", false, false, false}, // they are refused
		{"noaccess", false, false, false},
		{"2", false, false, true},
		{"invisible", false, false, true},
		{"invisible", true, false, false},
		{"invisible", false, true, false},
		{"ptraceable", true, false, true},
		{"4", false, true, false},
	} {
		assert.Equal(t, test.want, hides(test.hidepid, test.inGroup, test.mayTrace), test)
	}
}

func TestIsCalled(t *testing.T) {
	t.Parallel()
	long := newProcess(1, "a-name-of-more-") // than 15 bytes
	assert.True(t, long.IsCalled("a-name-of-more-"))
	assert.True(t, long.IsCalled("a-name-of-more-than-15-bytes"))
	assert.False(t, long.IsCalled("a-name-of-more"))
	odd := newProcess(1, "a\x1b,\"b")
	assert.True(t, odd.IsCalled("a\x1b,\"b"))
	assert.True(t, odd.IsCalled(`a?,"b`), "as it is printed")
	assert.False(t, odd.IsCalled("a"))
	hidden := newProcess(1, "")
	assert.False(t, hidden.IsCalled(""))
	assert.False(t, hidden.IsNamed())
}
