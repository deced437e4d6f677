package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/report"
)

// app is one run of the command line.
type app struct {
	streams
	flags struct {
		output  string
		noColor bool
		quiet   bool
	}
	// exit is the code of a command that gave its answer; an error has its own.
	exit int
}

// forms of the answer. A command lists those that it has.
const (
	formText  = "text"
	formJSON  = "json"
	formJUnit = "junit"
	formSARIF = "sarif"
)

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "attestd",
		Short: "Verify hardware attestation evidence and explain the verdict",
		Long: `Attestd verifies evidence that hardware signed (AWS Nitro Enclaves, AWS NitroTPM, AMD SEV-SNP),
judges it under a policy, and explains its verdict check by check.

Exit codes: 0 accepted or done, 3 rejected, 4 could not be decided, 2 the command cannot be
carried out as given, 1 a bug. Standard output is the answer, standard error everything else; an
error is two lines, "error:" and "hint:", or with -o json one line of JSON (schema
attestd.error.v1).`,
		Example: `  attestd verify report.bin --recorded --at 2025-06-01T00:00:00Z
  attestd explain sev-snp/guest-policy-debug
  attestd dev --demo`,
		SilenceErrors: true, SilenceUsage: true, DisableAutoGenTag: true,
		Args: func(command *cobra.Command, args []string) error { return unknownCommand(command, args) },
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	flags := root.PersistentFlags()
	flags.StringVarP(&a.flags.output, "output", "o", formText, "`FORM` of the answer: text or json")
	flags.BoolVar(&a.flags.noColor, "no-color", false, "no colours, as with NO_COLOR or CI set")
	flags.BoolVar(&a.flags.quiet, "quiet", false, "the first line of the answer only, no warnings")
	complete(root, "output", formText, formJSON)
	root.SetHelpCommand(newHelp())
	// Help is text like any other: no line beyond the page.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ",
		".FlagUsagesWrapped "+strconv.Itoa(a.page().Columns())+" "))
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = demandValues
	root.AddCommand(
		newVerify(a), newInspect(a), newExplain(a), newServe(a), newDev(a), newVersion(a), newRef(a),
		newMeasure(a), newEvidence(a), newSchema(a), newCompletion(a), newMan(a), newWorker(a), newController(a),
		newAudit(a), newDoctor(a), newSPIRE(a), newMigrate(a), newCollateral(a),
	)
	root.AddCommand(adminCommands(a)...)
	return root
}

// newHelp is "attestd help COMMAND", which refuses what is no command.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command",
		RunE: func(command *cobra.Command, args []string) error {
			found, rest, err := command.Root().Find(args)
			switch {
			case err != nil:
				return unknownCommand(command.Root(), args)
			case len(rest) > 0 && !found.HasSubCommands():
				return usagef("attestd help "+args[0], "%s has no command %q", found.CommandPath(),
					attestd.Excerpt(rest[0], 60))
			case len(rest) > 0:
				return unknownCommand(found, rest)
			}
			return found.Help()
		},
		ValidArgsFunction: func(
			command *cobra.Command, args []string, _ string,
		) (names []string, _ cobra.ShellCompDirective) {
			if found, rest, err := command.Root().Find(args); err == nil && len(rest) == 0 {
				for _, child := range found.Commands() {
					if child.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(child.Name(), child.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// unknownCommand refuses words that are no command and suggests those that look like them.
func unknownCommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := command.CommandPath() + " --help lists the commands"
	if near := command.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean: " + command.CommandPath() + " " + strings.Join(near, ", ")
	}
	return usagef(hint, "unknown command %q for %s", attestd.Excerpt(args[0], 60), command.CommandPath())
}

// flagError says what a flag takes where its value cannot be read.
func flagError(command *cobra.Command, err error) error {
	hint := command.CommandPath() + " --help lists the flags"
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		flag := invalid.GetFlag()
		want := map[string]string{"bool": "true or false", "int": "a number"}[flag.Value.Type()]
		if want != "" {
			return usagef(hint, "--%s got %q, want %s", flag.Name, attestd.Excerpt(invalid.GetValue(), 60), want)
		}
	}
	if strings.HasSuffix(err.Error(), "flag: --version") {
		hint = "attestd version"
	}
	return usagef(hint, "%w", err)
}

// demandValues refuses a flag that was given an empty text, which is what a script's unset variable
// looks like: an empty --key, --nonce or --policy would be a demand that is not made.
func demandValues(command *cobra.Command, _ []string) (err error) {
	command.Flags().Visit(func(flag *pflag.Flag) {
		if err == nil && flag.Value.Type() == "string" && flag.Value.String() == "" {
			err = usagef("give it a value, or leave the flag out; in a script, look for a variable that is not set",
				"--%s is empty", flag.Name)
		}
	})
	return err
}

// nounGroup returns a command that only has sub-commands.
func nounGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: use, Short: short, Args: unknownCommand,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	group.AddCommand(commands...)
	return group
}

// arguments demands a number of words behind the flags; what names them in the message.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		want := what
		if least == 0 && most == 0 {
			want = "no arguments"
		}
		return usagef(command.UseLine(), "%s got %d arguments, want %s", command.CommandPath(),
			len(args), want)
	}
}

// form returns the form that was asked for, where the command has it.
func (a *app) form(known ...string) (string, error) {
	if slices.Contains(known, a.flags.output) {
		return a.flags.output, nil
	}
	return "", usagef("give one of: "+strings.Join(known, ", "), "unknown output form %q",
		attestd.Excerpt(a.flags.output, 40))
}

// page says how to lay text out: as wide as the terminal or COLUMNS, in colours only where a person
// is looking and has not asked otherwise (no-color.org).
func (a *app) page() report.Page {
	columns, terminal := a.terminal()
	if set, err := strconv.Atoi(a.getenv("COLUMNS")); err == nil && set > 0 {
		columns = set
	}
	color := terminal && !a.flags.noColor && a.getenv("NO_COLOR") == "" && a.getenv("CI") == "" &&
		a.getenv("TERM") != "dumb"
	return report.Page{Width: columns, Color: color, Quiet: a.flags.quiet}
}

// judge builds the verifiers. Nothing is built before a command needs it: the binary starts at once.
func (a *app) judge(config judge.Config) (*judge.Judge, error) { return judge.New(config) }

// complete offers fixed values for a flag.
func complete(command *cobra.Command, flag string, values ...string) {
	completeWith(command, flag, cobra.ShellCompDirectiveNoFileComp, func() []string { return values })
}

// completeWith offers values that are made when they are asked for, with file names or without.
func completeWith(
	command *cobra.Command, flag string, files cobra.ShellCompDirective, values func() []string,
) {
	err := command.RegisterFlagCompletionFunc(flag,
		func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values(), files
		})
	if err != nil {
		panic(err) // the flag was not defined: a bug that every test run meets
	}
}

// outputFlag defines -o anew for a command with more forms than text and JSON.
func (a *app) outputFlag(command *cobra.Command, forms ...string) {
	command.Flags().StringVarP(&a.flags.output, "output", "o", formText,
		"`FORM` of the answer: "+strings.Join(forms, ", "))
	complete(command, "output", forms...)
}
