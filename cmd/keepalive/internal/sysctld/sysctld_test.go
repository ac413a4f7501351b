package sysctld

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		want  *Assignment
	}{
		"none":         {nil, nil},
		"other":        {map[string]string{"/etc/sysctl.d/a.conf": "net.ipv4.tcp_keepalive_intvl=5\n"}, nil},
		"comments":     {map[string]string{"/etc/sysctl.d/a.conf": "# a.b = 1\n;a.b=2\n"}, nil},
		"spaces":       {map[string]string{"/etc/sysctl.d/a.conf": "\n  a.b  =  7  \n"}, &Assignment{"/etc/sysctl.d/a.conf", 2, "7"}},
		"slashes":      {map[string]string{"/etc/sysctl.d/a.conf": "a/b=7"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "7"}},
		"minus":        {map[string]string{"/etc/sysctl.d/a.conf": "-a.b = 7"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "7"}},
		"glob":         {map[string]string{"/etc/sysctl.d/a.conf": "a.* = 7"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "7"}},
		"last line":    {map[string]string{"/etc/sysctl.d/a.conf": "a.b=1\na.b=2\n"}, &Assignment{"/etc/sysctl.d/a.conf", 2, "2"}},
		"no .conf":     {map[string]string{"/etc/sysctl.d/a.conf~": "a.b=1"}, nil},
		"by name":      {map[string]string{"/etc/sysctl.d/10-a.conf": "a.b=1", "/usr/lib/sysctl.d/50-b.conf": "a.b=2"}, &Assignment{"/usr/lib/sysctl.d/50-b.conf", 1, "2"}},
		"same name":    {map[string]string{"/etc/sysctl.d/a.conf": "a.b=1", "/usr/lib/sysctl.d/a.conf": "a.b=2"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "1"}},
		"empty masks":  {map[string]string{"/etc/sysctl.d/a.conf": "", "/usr/lib/sysctl.d/a.conf": "a.b=2"}, nil},
		"runtime":      {map[string]string{"/run/sysctl.d/a.conf": "a.b=1", "/usr/lib/sysctl.d/a.conf": "a.b=2"}, &Assignment{"/run/sysctl.d/a.conf", 1, "1"}},
		"sysctl.conf":  {map[string]string{"/etc/sysctl.d/zz.conf": "a.b=1", "/etc/sysctl.conf": "a.b=2"}, &Assignment{"/etc/sysctl.conf", 1, "2"}},
		"no such glob": {map[string]string{"/etc/sysctl.d/a.conf": "[ = 7\na.c.* = 7\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for file, content := range test.files {
				path := filepath.Join(root, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
			}
			got, err := find(root, "a.b")
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestFindReportsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "/etc/sysctl.d/a.conf"), 0o755)) // a directory
	require.NoError(t, os.WriteFile(filepath.Join(root, "/etc/sysctl.d/b.conf"), []byte("a.b=1"), 0o644))
	got, err := find(root, "a.b")
	assert.ErrorContains(t, err, "a.conf")
	assert.Equal(t, &Assignment{"/etc/sysctl.d/b.conf", 1, "1"}, got)
}
