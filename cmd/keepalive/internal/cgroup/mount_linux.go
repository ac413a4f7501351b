package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

var errOutside = errors.New("it lies outside of this cgroup namespace")

// openBelowMount opens the directory of a group by its path in
// /proc/PID/cgroup: where cgroup v2 is mounted, or else in a mount of its own,
// which nobody else sees.
func openBelowMount(path string) (*os.Root, error) {
	if path == "/.." || strings.HasPrefix(path, "/../") {
		return nil, errOutside
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var failed error
	for line := range strings.Lines(string(text)) {
		dir, ok := below(line, path)
		if !ok {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err == nil {
			return root, nil
		}
		failed = err
	}
	if failed != nil {
		return nil, failed
	}
	mount, err := mount()
	if err != nil {
		return nil, fmt.Errorf("cgroup v2 is not mounted, and can't be: %w: run it as root, or mount -t cgroup2 none /sys/fs/cgroup", err)
	}
	defer mount.Close()
	return os.OpenRoot(filepath.Join("/proc/self/fd", fmt.Sprint(mount.Fd()), path))
}

// below returns the directory of a group, where the line of mountinfo is that of
// a mount that shows it. See proc_pid_mountinfo(5) for the fields.
func below(line, path string) (dir string, ok bool) {
	fields := strings.Fields(line)
	dash := 6
	for dash < len(fields) && fields[dash] != "-" {
		dash++
	}
	if dash+1 >= len(fields) || fields[dash+1] != "cgroup2" {
		return "", false
	}
	root, point := strings.TrimSuffix(unescape(fields[3]), "/"), unescape(fields[4])
	rest, ok := strings.CutPrefix(path, root)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return filepath.Join(point, rest), true
}

func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// mount mounts cgroup v2 nowhere.
func mount() (*os.File, error) {
	context, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(fd), "cgroup2"), nil
}
