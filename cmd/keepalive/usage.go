package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{$commands := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $commands}}{{if eq .GroupID $group.ID}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableSubCommands}}
{{range $commands}}{{if and (eq .GroupID "") .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" describes a command.{{end}}
`

// addOwn adds the commands that cobra would add, so that they report wrong usage
// as the others do. They print to the output that root has by now.
func addOwn(root *cobra.Command) {
	help := &cobra.Command{
		Use:                   "help [COMMAND]",
		Short:                 "Describe a command",
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeCommand,
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{unknownCommand(c, rest)}
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
	root.SetHelpCommand(help)
	root.AddCommand(help, newManual())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Use, c.DisableFlagsInUseLine = "completion SHELL", true
		c.Short = "Print a script that completes commands and flags in a shell"
		c.Long = c.Short + ".\n\"keepalive completion SHELL --help\" describes how to load it."
		c.Args, c.RunE = unknownCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
		for _, shell := range c.Commands() {
			shell.Args = noArgs
			if shell.Name() == "bash" {
				shell.RunE = printBashScript
			}
		}
	}
}

// unknownCommand is the check of the arguments of a command that has others below
// it.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	path := strings.TrimPrefix(c.CommandPath()+" "+args[0], c.Root().Name()+" ")
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no command %q", path)
	}
	return fmt.Errorf("there is no command %q, want one of %s", path, strings.Join(names, ", "))
}

// noArgs is the check of the arguments of a command that takes none.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q, want: %s", args[0], c.UseLine())
	}
	return nil
}

// oneArg is the check of the arguments of a command that takes one, which the
// usage calls name.
func oneArg(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("%s is missing, want: %s", name, c.UseLine())
		case len(args) > 1:
			return fmt.Errorf("unexpected argument %q, want: %s", args[1], c.UseLine())
		}
		return nil
	}
}

// flagError says in the command's own words what package pflag finds wrong.
func flagError(_ *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if shorts := e.GetSpecifiedShortnames(); shorts != "" {
			return fmt.Errorf("there is no flag -%s", e.GetSpecifiedName())
		}
		return fmt.Errorf("there is no flag --%s", e.GetSpecifiedName())
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("--%s has no value, want %s", e.GetFlag().Name, wantedValue(e.GetFlag(), ""))
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		name, value, cause := e.GetFlag().Name, e.GetValue(), e.Unwrap()
		if _, number := errors.AsType[*strconv.NumError](cause); number || strings.HasPrefix(cause.Error(), "time: ") {
			return fmt.Errorf("--%s is %q, want %s", name, value, wantedValue(e.GetFlag(), value))
		}
		return fmt.Errorf("--%s: %w", name, cause)
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return fmt.Errorf("%s is no flag, want one such as --help", e.GetSpecifiedFlag())
	}
	return err
}

// wantedValue describes the values that the flag takes, of which got is none.
func wantedValue(f *pflag.Flag, got string) string {
	switch f.Value.Type() {
	case "duration":
		if _, err := strconv.ParseUint(got, 10, 64); err == nil {
			return fmt.Sprintf("a duration with a unit, such as %ss", got)
		}
		return "a duration such as 10m"
	case "int", "intSlice":
		return "a whole number"
	case "bool":
		return "true or false"
	}
	name, _ := pflag.UnquoteUsage(f)
	return "a " + name
}
