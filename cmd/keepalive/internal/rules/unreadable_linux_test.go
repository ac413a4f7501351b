package rules

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A file that can't be read is an error: its rules would be missing.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for up := dir; up != filepath.Clean(os.TempDir()); up = filepath.Dir(up) {
		require.NoError(t, os.Chmod(up, 0o755))
	}
	closed, file := filepath.Join(dir, "closed"), filepath.Join(dir, "r.yaml")
	require.NoError(t, os.Mkdir(closed, 0))
	require.NoError(t, os.WriteFile(file, []byte("rules:\n  - policy: idle=60s\n"), 0))
	links := filepath.Join(dir, "links")
	require.NoError(t, os.Mkdir(links, 0o755))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(links, "dangling.yaml")))
	asNobody(func() {
		for path, want := range map[string]error{
			closed: os.ErrPermission, file: os.ErrPermission, dir + "/nowhere": os.ErrNotExist,
			links: os.ErrNotExist,
		} {
			_, err := Load(path)
			assert.ErrorIs(t, err, want, path)
			assert.ErrorContains(t, err, path)
		}
	})
	require.NoError(t, os.Chmod(file, 0o600))
	rules, err := Load(file)
	assert.NoError(t, err)
	assert.Len(t, rules, 1, "of a file that is named itself")
}

// asNobody calls f on a thread for which the rights of root over files do not count.
func asNobody(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		unix.Setfsuid(65534)
		f()
	}()
	<-done
}
