package cgroup

import (
	"io/fs"
	"path"
	"slices"
	"strings"
)

// AllPaths returns the path of every group but the root, as /proc/PID/cgroup shows it.
func AllPaths() (paths []string, err error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = root.walk(func(dir string) error {
		if dir != "." {
			paths = append(paths, path.Join("/", dir))
		}
		return nil
	})
	return paths, err
}

// Units returns the names of the units that [OfUnit] finds.
func Units() (names []string, err error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return units(root.dir.FS())
}

func units(fsys fs.FS) (names []string, err error) {
	err = fs.WalkDir(fsys, ".", func(dir string, e fs.DirEntry, err error) error {
		if isGone(err) || err == nil && (dir == "." || !e.IsDir()) {
			return nil
		}
		if err != nil {
			return err
		}
		if slices.Contains(unitTypes, path.Ext(dir)) {
			names = append(names, strings.TrimPrefix(path.Base(dir), "_"))
		}
		if path.Ext(dir) != ".slice" {
			return fs.SkipDir
		}
		return nil
	})
	return names, err
}
