package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
	whynot "github.com/attestd/attestd/internal/why"
)

func newWhy(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a subject is given no identity, and what to do",
		Long: `Why goes through what stands between a subject and an identity, step by step, and names the first
thing that is missing, its cause and what mends it. ID is a SPIFFE ID, the unique beginning of an
instance's value (6 characters or more), or instance:VALUE, host:VALUE.

Exit code 0 is that an identity would be given now, 3 that none would.`,
		Example: `  attestd why spiffe://example.org/agent/web-1
  attestd why 9c41f3aa -o json`,
		Args: arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			why, err := asking.Why(command.Context(), args[0])
			if err != nil {
				return err
			}
			if a.exit = exitRejected; why.Granted {
				a.exit = exitAccepted
			}
			if form == formJSON {
				return report.JSON(a.out, why)
			}
			return whyText(why).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	command.ValidArgsFunction = a.completeIDs(server)
	return command
}

func whyText(why wire.Why) report.Blocks {
	word := "NO IDENTITY"
	if why.Granted {
		word = "IDENTITY"
	}
	steps := report.Block{}
	missing := false
	for number, step := range why.Steps {
		mark := "ok"
		if !step.OK {
			mark = "also"
			if !missing {
				mark = "MISSING"
			}
			missing = true
		}
		steps.Rows = append(steps.Rows, []string{strconv.Itoa(number + 1), step.Name, mark, step.Detail})
	}
	facts := [][]string{{"cause", why.Cause}}
	next := look("attestd subject show", why.Target)
	if why.Fix != "" {
		facts = append(facts, []string{"fix", why.Fix})
	}
	switch why.Code { // where there is no subject yet, or nobody can look at it
	case whynot.StoreDown:
		next = "attestd doctor"
	case whynot.NeverSeen, whynot.NotEnrolled, whynot.Denied:
		next = "attestd enroll ls --pending"
	}
	return report.Blocks{
		Lead: []string{word, shortID(why.Target), why.Code}, Good: why.Granted, Bad: !why.Granted,
		Blocks: []report.Block{steps, {Rows: facts}}, Next: next,
	}
}
