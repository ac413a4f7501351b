package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// completers complete flags and arguments, by name.
var completers = map[string]completer{
	"POLICY":  completePolicy,
	"cgroup":  complete(cgroup.AllPaths),
	"command": complete(commandNames),
	"method":  complete(func() ([]string, error) { return []string{ebpf, seccomp}, nil }),
	"pid":     completePID,
	"unit":    complete(cgroup.Units),
	"user":    complete(userNames),
}

// complete returns the completer for words. Where they can't be found out, there is
// nothing to complete.
func complete(words func() ([]string, error)) completer {
	return func(string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found, _ := words()
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completePolicy completes the keys of a policy, each of which it has once.
func completePolicy(typed string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	for i := range policy.Options {
		o := &policy.Options[i]
		if !strings.Contains(","+before, ","+o.Key+"=") {
			found = append(found, cobra.CompletionWithDesc(before+o.Key+"=", o.Name))
		}
	}
	if before == "" {
		found = append(found, "default", "off")
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completePID completes the last one of a list.
func completePID(typed string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	for _, p := range holders() {
		found = append(found, cobra.CompletionWithDesc(before+strconv.Itoa(p.PID), p.Command))
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func commandNames() (names []string, _ error) {
	for _, p := range holders() {
		names = append(names, p.Command)
	}
	return names, nil
}

// holders returns the processes that hold TCP sockets, as far as the caller may look
// into them.
func holders() (processes []sockets.Process) {
	f, err := sockets.Find("")
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := range f.All(func(sockets.Process) bool { return true }) {
		for _, h := range s.Holders {
			processes = append(processes, h.Process)
		}
	}
	return processes
}

// userNames returns the users of passwd(5), where --user looks them up.
func userNames() (names []string, err error) {
	text, err := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(text)) {
		if name, _, isEntry := strings.Cut(line, ":"); isEntry && !strings.ContainsAny(name[:1], "#+-") {
			names = append(names, name)
		}
	}
	return names, err
}
