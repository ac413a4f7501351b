package sysctld

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		"none":                 {nil, nil},
		"other":                {map[string]string{"/etc/sysctl.d/a.conf": "net.ipv4.tcp_keepalive_intvl=5\n"}, nil},
		"comments":             {map[string]string{"/etc/sysctl.d/a.conf": "# a.b = 1\n;a.b=2\n"}, nil},
		"spaces":               {map[string]string{"/etc/sysctl.d/a.conf": "\n  a.b  =  7  \n"}, &Assignment{"/etc/sysctl.d/a.conf", 2, "7"}},
		"slashes":              {map[string]string{"/etc/sysctl.d/a.conf": "a/b=7"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "7"}},
		"minus":                {map[string]string{"/etc/sysctl.d/a.conf": "-a.b = 7"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "7"}},
		"glob":                 {map[string]string{"/etc/sysctl.d/a.conf": "a.* = 7"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "7"}},
		"last line":            {map[string]string{"/etc/sysctl.d/a.conf": "a.b=1\na.b=2\n"}, &Assignment{"/etc/sysctl.d/a.conf", 2, "2"}},
		"no .conf":             {map[string]string{"/etc/sysctl.d/a.conf~": "a.b=1"}, nil},
		"by name":              {map[string]string{"/etc/sysctl.d/10-a.conf": "a.b=1", "/usr/lib/sysctl.d/50-b.conf": "a.b=2"}, &Assignment{"/usr/lib/sysctl.d/50-b.conf", 1, "2"}},
		"same name":            {map[string]string{"/etc/sysctl.d/a.conf": "a.b=1", "/usr/lib/sysctl.d/a.conf": "a.b=2"}, &Assignment{"/etc/sysctl.d/a.conf", 1, "1"}},
		"empty masks":          {map[string]string{"/etc/sysctl.d/a.conf": "", "/usr/lib/sysctl.d/a.conf": "a.b=2"}, nil},
		"runtime":              {map[string]string{"/run/sysctl.d/a.conf": "a.b=1", "/usr/lib/sysctl.d/a.conf": "a.b=2"}, &Assignment{"/run/sysctl.d/a.conf", 1, "1"}},
		"sysctl.conf":          {map[string]string{"/etc/sysctl.d/zz.conf": "a.b=1", "/etc/sysctl.conf": "a.b=2"}, &Assignment{"/etc/sysctl.conf", 1, "2"}},
		"explicit before glob": {map[string]string{"/etc/sysctl.d/10.conf": "a.b=1", "/etc/sysctl.d/90.conf": "a.*=2"}, &Assignment{"/etc/sysctl.d/10.conf", 1, "1"}},
		"explicit after glob":  {map[string]string{"/etc/sysctl.d/10.conf": "a.*=2\na.b=1"}, &Assignment{"/etc/sysctl.d/10.conf", 2, "1"}},
		"last glob":            {map[string]string{"/etc/sysctl.d/10.conf": "a.?=1\na.*=2"}, &Assignment{"/etc/sysctl.d/10.conf", 2, "2"}},
		"excluded":             {map[string]string{"/etc/sysctl.d/10.conf": "a.*=2\n-a.b\n"}, nil},
		"excluded before":      {map[string]string{"/etc/sysctl.d/10.conf": "-a.b\na.*=2\n"}, nil},
		"other one excluded":   {map[string]string{"/etc/sysctl.d/10.conf": "-a.c\na.*=2\n"}, &Assignment{"/etc/sysctl.d/10.conf", 2, "2"}},
		"excluded, then set":   {map[string]string{"/etc/sysctl.d/10.conf": "-a.b\n", "/etc/sysctl.d/20.conf": "a.b=3"}, &Assignment{"/etc/sysctl.d/20.conf", 1, "3"}},
		"set, then excluded":   {map[string]string{"/etc/sysctl.d/10.conf": "a.b=3\n-a.b\n"}, nil},
		"no assignment":        {map[string]string{"/etc/sysctl.d/10.conf": "a.b\ta.b\na.b 7\n"}, nil},
		"slash within":         {map[string]string{"/etc/sysctl.d/10.conf": "a/b/c=1\na.b/c=2\n"}, nil},
		"leading slash":        {map[string]string{"/etc/sysctl.d/10.conf": "/a//b=1"}, &Assignment{"/etc/sysctl.d/10.conf", 1, "1"}},
		"carriage return":      {map[string]string{"/etc/sysctl.d/10.conf": "a.b=1\r\n"}, &Assignment{"/etc/sysctl.d/10.conf", 1, "1"}},
		"comment behind":       {map[string]string{"/etc/sysctl.d/10.conf": "a.b=1 # one"}, &Assignment{"/etc/sysctl.d/10.conf", 1, "1 # one"}},
		"equals sign in value": {map[string]string{"/etc/sysctl.d/10.conf": "a.b=1=2"}, &Assignment{"/etc/sysctl.d/10.conf", 1, "1=2"}},
		"long line":            {map[string]string{"/etc/sysctl.d/10.conf": strings.Repeat("a", 100_000) + "\na.b=1\n"}, &Assignment{"/etc/sysctl.d/10.conf", 2, "1"}},
		"no such glob":         {map[string]string{"/etc/sysctl.d/a.conf": "[ = 7\na.c.* = 7\n"}, nil},
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

// What is no file holds no settings, and a masked file none either.
func TestFindLeavesOutWhatIsNoFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "/etc/sysctl.d")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "z-directory.conf"), 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "z-pipe.conf"), 0o644))
	require.NoError(t, os.Symlink("/dev/null", filepath.Join(dir, "z-masked.conf")))
	require.NoError(t, os.Symlink("nonesuch", filepath.Join(dir, "z-nowhere.conf")))
	usr := filepath.Join(root, "/usr/lib/sysctl.d")
	require.NoError(t, os.MkdirAll(usr, 0o755))
	for name, text := range map[string]string{"b.conf": "a.b=1", "z-masked.conf": "a.b=2"} {
		require.NoError(t, os.WriteFile(filepath.Join(usr, name), []byte(text), 0o644))
	}
	got, err := find(root, "a.b")
	require.NoError(t, err)
	assert.Equal(t, &Assignment{"/usr/lib/sysctl.d/b.conf", 1, "1"}, got)
}

func TestFindReportsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "/etc/sysctl.d"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "/etc/sysctl.d/b.conf"), []byte("a.b=1"), 0o644))
	require.NoError(t, os.Symlink("a.conf", filepath.Join(root, "/etc/sysctl.d/a.conf"))) // a loop
	got, err := find(root, "a.b")
	assert.ErrorContains(t, err, "a.conf")
	assert.Equal(t, &Assignment{"/etc/sysctl.d/b.conf", 1, "1"}, got)
}

func TestInt(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{
		"64": 64, "0x40": 64, "0X40": 64, "010": 8, "0": 0, "4 # comment": 4, "4\t5": 4, "-1": -1, " 7 ": 7, "2147483647": 2147483647,
	} {
		n, ok := Assignment{Value: value}.Int()
		assert.True(t, ok, value)
		assert.Equal(t, want, n, value)
	}
	for _, value := range []string{"", "abc", "4#", "08", "0x", "0xg", "1_000", "0b1", "0o7", "+4", "--4", "1.5", "2147483648"} {
		_, ok := Assignment{Value: value}.Int()
		assert.False(t, ok, value)
	}
}
