//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// killGroup gives cmd a session of its own, and has it take its children with it when
// it is killed: tests run processes, which they may have stopped.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// killSession kills what a test has left behind in other process groups, where there
// is /proc.
func killSession(id int) {
	for range 100 { // they may be forking
		again := false
		all, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range all {
			stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
			fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
			if len(fields) < 4 || string(fields[0]) == "Z" || string(fields[3]) != strconv.Itoa(id) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				again = true
			}
		}
		if !again {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
