//go:build !linux

package main

import "github.com/spf13/cobra"

func groups() []commandGroup {
	return []commandGroup{{"Choose", []*cobra.Command{newPlan(), newProbe()}}}
}
