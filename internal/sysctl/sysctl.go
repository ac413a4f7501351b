// Package sysctl knows the system's own TCP settings: those that Linux has now,
// and those that other systems document.
package sysctl

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// dir holds the settings. They count for IPv6 as well.
const dir = "/proc/sys/net/ipv4"

// Int returns net.ipv4.name in the network namespace of the calling thread.
func Int(name string) (int, error) { return readInt(filepath.Join(dir, name)) }

func readInt(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	return int(n), err
}
