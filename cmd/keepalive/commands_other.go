//go:build !linux

package main

import "github.com/spf13/cobra"

func commands() []*cobra.Command {
	return []*cobra.Command{newPlan(), newProbe()}
}
