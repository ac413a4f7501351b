package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// refusalLines returns a line about processes that the caller may not look into,
// if there are any.
func refusalLines(refusals []sockets.Refusal) []string {
	counts := make(map[string]int)
	var reasons []string
	for _, r := range refusals {
		if counts[r.Reason]++; counts[r.Reason] == 1 {
			reasons = append(reasons, r.Reason)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%d: %s", counts[reason], reason)
	}
	return []string{fmt.Sprintf("%s could not be looked into (%s)", plural(len(refusals), "process", "processes"), strings.Join(reasons, "; "))}
}

// unseenLines returns lines about what could not be seen, and whether a process that
// a flag names could not be looked into.
func (s *selection) unseenLines(f *sockets.Found) (lines []string, refused bool) {
	refusals := s.refused(f.Refusals())
	lines = refusalLines(refusals)
	if s.namesProcesses() && len(refusals) == 1 {
		lines = []string{"keepalive: " + refusals[0].Error()}
	}
	return append(lines, unseenLines(s.unseen(f))...), s.namesProcesses() && len(refusals) > 0
}

// unseenLines returns a line about each kind of thing that could not be seen.
func unseenLines(u sockets.Unseen) (lines []string) {
	if u.Hidden != nil {
		lines = append(lines, u.Hidden.Error())
	}
	lines = append(lines, uncountedLines(u.Uncounted)...)
	byNamespace := make(map[uint64][]sockets.Connection)
	var namespaces []uint64
	for _, c := range u.Connections {
		if c.Kernel {
			continue
		}
		if byNamespace[c.NetNS] == nil {
			namespaces = append(namespaces, c.NetNS)
		}
		byNamespace[c.NetNS] = append(byNamespace[c.NetNS], c)
	}
	for _, n := range namespaces {
		lines = append(lines, connectionsLine(n, byNamespace[n]))
	}
	return lines
}

// connectionsLine is about connections of one network namespace. It shows the
// first few of them.
func connectionsLine(namespace uint64, connections []sockets.Connection) string {
	const few = 3
	var shown []string
	for _, c := range connections[:min(len(connections), few)] {
		shown = append(shown, fmt.Sprintf("%v to %v", c.Local, c.Remote))
	}
	if len(connections) > few {
		shown = append(shown, "…")
	}
	return fmt.Sprintf("%s of network namespace %d found in no process (%s): in flight over a Unix socket, registered with io_uring, or held by a process that cannot be looked into or is in another PID namespace",
		plural(len(connections), "TCP connection", "TCP connections"), namespace, strings.Join(shown, ", "))
}

// uncountedLines returns a line for each reason.
func uncountedLines(uncounted []sockets.Uncounted) (lines []string) {
	byReason := make(map[string][]string)
	var reasons []string
	for _, u := range uncounted {
		reason := u.Err.Error()
		if byReason[reason] == nil {
			reasons = append(reasons, reason)
		}
		byReason[reason] = append(byReason[reason], fmt.Sprint(u.NetNS))
	}
	for _, reason := range reasons {
		inodes := byReason[reason]
		noun := "network namespace"
		if len(inodes) > 1 {
			noun += "s"
		}
		lines = append(lines, fmt.Sprintf("the TCP connections of %s %s could not be counted: %s", noun, strings.Join(inodes, ", "), reason))
	}
	return lines
}

// kernelLine is about connections that are known to be the kernel's, which is
// nothing to be worried about.
func kernelLine(u sockets.Unseen) string {
	n := len(slices.DeleteFunc(slices.Clone(u.Connections), func(c sockets.Connection) bool { return !c.Kernel }))
	if n == 0 {
		return ""
	}
	return plural(n, "TCP connection belongs", "TCP connections belong") + " to the kernel, such as to NFS"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
