package main

import (
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A completer returns what a flag or an argument may be, given what is typed of it.
// What begins otherwise is left out by its caller.
type completer func(typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// addCompletion has shells complete the values of flags, and arguments. Those with
// the same name mean the same in every command, so that completers lists them by
// name. A command may have its own.
func addCompletion(root *cobra.Command) {
	for _, c := range root.Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if _, found := c.GetFlagCompletionFunc(f.Name); found || f.NoOptDefVal != "" {
				return
			}
			value, _ := pflag.UnquoteUsage(f)
			complete := completerOf(f.Name, value)
			c.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return complete.matching(typed)
			})
		})
		if c.ValidArgsFunction == nil && !c.HasSubCommands() {
			c.ValidArgsFunction = completeArgument
		}
	}
}

// completeArgument completes the argument of a command by the name that its usage
// has for it.
func completeArgument(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	words := slices.DeleteFunc(strings.Fields(c.Use)[1:], func(word string) bool { return word == "[FLAG...]" || word == "--" })
	if len(words) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	last := words[len(words)-1]
	if len(args) < len(words) {
		last = words[len(args)]
	} else if !strings.Contains(last, "...") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	name := strings.Trim(last, "[].")
	return completerOf(name, name).matching(typed)
}

// completeCommand completes the names of the commands below the one that args name.
func completeCommand(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	above, rest, err := c.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	below := completer(func(string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		for _, sub := range above.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	return below.matching(typed)
}

// completerOf returns the completer of a flag or an argument, or that of the names
// of files where its value is one.
func completerOf(name, value string) completer {
	if complete, found := completers[name]; found {
		return complete
	}
	directive := cobra.ShellCompDirectiveNoFileComp
	for name := range strings.SplitSeq(value, "|") {
		if slices.Contains([]string{"FILE", "PATH", "DIRECTORY", "DIR", "NS", "PROGRAM", "ARGUMENT"}, name) {
			directive = cobra.ShellCompDirectiveDefault
		}
	}
	return func(string) ([]cobra.Completion, cobra.ShellCompDirective) { return nil, directive }
}

func (complete completer) matching(typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	found, directive := complete(typed)
	found = slices.DeleteFunc(found, func(s string) bool { return !strings.HasPrefix(s, typed) })
	slices.Sort(found)
	return slices.Compact(found), directive
}

// printBashScript prints cobra's script, which would escape commas: bash then inserts
// \, in a policy, and completes nothing after a comma.
func printBashScript(c *cobra.Command, _ []string) error {
	without, err := c.Flags().GetBool("no-descriptions")
	if err != nil {
		return err
	}
	var script strings.Builder
	if err := c.Root().GenBashCompletionV2(&script, !without); err != nil {
		return err
	}
	_, err = io.WriteString(c.OutOrStdout(), keepCommas(script.String()))
	return err
}

// keepCommas has the script turn \, into a comma wherever it has escaped what it
// matches or inserts.
func keepCommas(script string) string {
	script = regexp.MustCompile(`(?m)^.*printf -v comp "%q".*$`).ReplaceAllString(script, "$0\n"+`comp=$${comp//\\,/,}`)
	return regexp.MustCompile(`(?m)^.*COMPREPLY.*printf "%q.*$`).ReplaceAllString(script, "$0\n"+`COMPREPLY=("$${COMPREPLY[@]//\\,/,}")`)
}
