package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Long: `Completion prints a script that completes commands, flags, and the values of flags.
The one for bash needs the package bash-completion.`,
		Example: `  source <(attestd completion bash)
  attestd completion fish > ~/.config/fish/completions/attestd.fish`,
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Args:                  arguments(1, 1, "one of "+strings.Join(shells, ", ")),
		RunE: func(command *cobra.Command, args []string) error {
			if _, err := a.form(formText); err != nil {
				return usagef("drop -o: the answer is a script", "%w", err)
			}
			root := command.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			default:
				return usagef("give one of: "+strings.Join(shells, ", "), "unknown shell %q",
					attestd.Excerpt(args[0], 40))
			}
		},
	}
}
