//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// killGroup makes cmd take its children with it when it is killed: tests run
// processes of their own, which they may have stopped.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
