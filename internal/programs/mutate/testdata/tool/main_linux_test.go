package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestTool(t *testing.T) {
	tool := filepath.Join(os.Getenv("MUTANT_PROGRAMS"), "tool")
	server := exec.Command("sleep", "100.25")
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(tool).Run(); err != nil {
		t.Error(err)
	}
	cmd := exec.Command(tool, "x")
	if cmd.Run(); cmd.ProcessState.ExitCode() != 3 {
		t.Error(cmd.ProcessState)
	}
}
