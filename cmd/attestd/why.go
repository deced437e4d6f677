package main

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
	whynot "github.com/attestd/attestd/internal/why"
)

func newWhy(a *app) *cobra.Command {
	var server *adminServer
	var process whyProcess
	command := &cobra.Command{
		Use:   "why ID | why --pid N [ID]",
		Short: "Say why a subject, a workload or a process is given no identity, and what to do",
		Long: `Why goes through what stands between a subject and an identity, step by step, and names the first
thing that is missing, its cause and what mends it. ID is a SPIFFE ID of a node or of a workload, or
the unique beginning of an instance's value (6 characters or more), or instance:VALUE, host:VALUE.
It can be the id of an appraisal, which SPIRE's log names where a node was refused: the answer is
about that verdict first.

With --pid it asks, on a node, the plugin that SPIRE's agent asks there: which selectors the process
gets, and which are withheld. Where a server is named it asks that one too, for ID or for the node.
Root and the agent's user may.

Exit code 0 is that an identity would be given now, 3 that none would, 4 that nobody can tell.`,
		Example: `  attestd why spiffe://example.org/agent/web-1
  attestd why 9c41f3aa -o json
  attestd why --pid 31877 --runtime-dir /run/attestd-agent`,
		Args: arguments(0, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			var why wire.Why
			var err error
			form, err := a.form(formText, formJSON)
			switch {
			case err != nil:
				return err
			case command.Flags().Changed("pid"):
				why, err = a.whyProcess(command.Context(), process, server, args)
			case len(args) == 0:
				return usagef(command.UseLine(), "attestd why got no ID and no --pid")
			default:
				var asking *client.Client
				if asking, err = a.admin(server); err == nil {
					why, err = asking.Why(command.Context(), args[0])
				}
			}
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
	command.Flags().Int32Var(&process.pid, "pid", 0, "the `NUMBER` of a process on this node")
	command.Flags().StringVar(&process.folder, "runtime-dir", defaultRuntimeDir,
		"`DIR` that the plugins of SPIRE's agent share, as in their configuration")
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
	next := look("attestd subject show", cmp.Or(string(why.Subject), why.Target))
	if strings.HasPrefix(why.Target, "pid ") {
		next = "attestd status"
	}
	if why.Fix != "" {
		facts = append(facts, []string{"fix", why.Fix})
	}
	if whynot.NamesAppraisal(why.Target) && why.Subject == "" {
		next = "attestd subject ls"
	}
	ofWorkload := slices.ContainsFunc(why.Steps, func(s wire.WhyStep) bool { return s.Name == "entry" })
	if why.Granted && ofWorkload && !strings.HasPrefix(why.Target, "pid ") {
		next = "attestd why --pid PID " + report.QuoteArg(why.Target) + "   # on a node, for one process"
	}
	switch why.Code { // where there is no subject yet, or nobody can look at it
	case whynot.StoreDown:
		next = "attestd doctor"
	case whynot.SPIREUnknown, whynot.MintFailing, whynot.AttestationFailing, whynot.EntryHeld:
		next = "attestd doctor --only spire"
	case whynot.NoEntry, whynot.NoNode, whynot.AgentUnknown, whynot.AgentBanned, whynot.AgentExpired,
		whynot.Selectors, whynot.EntryExpired, whynot.EntryTTL, whynot.Unattested:
		next = "attestd why " + report.QuoteArg(why.Target) + "   # again, when that is done"
	case whynot.NeverSeen, whynot.NotEnrolled, whynot.Denied:
		next = "attestd enroll ls --pending"
	}
	return report.Blocks{
		Lead: []string{word, shortID(why.Target), why.Code}, Good: why.Granted, Bad: !why.Granted,
		Blocks: []report.Block{steps, {Rows: facts}}, Next: next,
	}
}
