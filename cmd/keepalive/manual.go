package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/manual"
)

// newManual makes the command that .ci/package calls. It is not part of the
// interface.
func newManual() *cobra.Command {
	return &cobra.Command{
		Use:                   "manual DIRECTORY",
		Short:                 "Write a manual page for each command",
		Hidden:                true,
		DisableFlagsInUseLine: true,
		Args:                  oneArg("DIRECTORY"),
		RunE: func(c *cobra.Command, args []string) error {
			b := thisBuild() // so that the same commit has the same pages
			for _, page := range manual.Pages(c.Root(), manual.Header{Version: b.version, Date: b.date}) {
				if err := os.WriteFile(filepath.Join(args[0], page.Name), []byte(page.Text), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
