package main

import "github.com/spf13/cobra"

func groups() []commandGroup {
	return []commandGroup{
		{"See", []*cobra.Command{newLs(), newLosses(), newExporter(), newDefaults()}},
		{"Change", []*cobra.Command{newSet(), newKill()}},
		{"Hold", []*cobra.Command{newRun(), newAttach(), newApply()}},
		{"Choose", []*cobra.Command{newPlan(), newProbe()}},
	}
}
