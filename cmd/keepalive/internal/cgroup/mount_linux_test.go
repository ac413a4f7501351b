package cgroup

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBelow(t *testing.T) {
	t.Parallel()
	const rest = " rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate"
	for _, tt := range []struct{ line, path, dir string }{
		{"30 23 0:26 / /sys/fs/cgroup" + rest, "/", "/sys/fs/cgroup"},
		{"30 23 0:26 / /sys/fs/cgroup" + rest, "/a/b", "/sys/fs/cgroup/a/b"},
		{"30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "/a/b", "/sys/fs/cgroup/a/b"},
		{"30 23 0:26 /a /mnt" + rest, "/a/b", "/mnt/b"},
		{"30 23 0:26 /a /mnt" + rest, "/a", "/mnt"},
		{"30 23 0:26 /a /mnt" + rest, "/ab", ""},
		{"30 23 0:26 /a /mnt" + rest, "/", ""},
		{`30 23 0:26 /a\040b /m\134n\011t` + rest, "/a b/c", "/m\\n\tt/c"},
		{"30 23 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd", "/a", ""},
		{"30 23 0:26 / /sys/fs/cgroup rw", "/a", ""},
		{"", "/a", ""},
	} {
		dir, ok := below(tt.line, tt.path)
		assert.Equal(t, tt.dir, dir, tt.line)
		assert.Equal(t, tt.dir != "", ok, tt.line)
	}
}
