package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

func newReattest(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use:   "reattest NODE",
		Short: "Have a node attest itself again through SPIRE",
		Long: `Reattest has SPIRE forget the node's agent, which then attests itself with fresh evidence at its
next contact. Workloads keep the identities they have; new JWT-SVIDs wait until it is done. It is
paced, one in a hundred of the fleet a minute, and refused while a canary shows that no node could
attest itself: then its agent would end.

Exit code 0 is that SPIRE was told or that the node waits for its turn, 3 that it was refused.`,
		Example: `  attestd reattest 9c41f3aa`,
		Args:    arguments(1, 1, "one NODE"),
		RunE: func(command *cobra.Command, args []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			answer, err := asking.Reattest(command.Context(), wire.ReattestOrder{Target: args[0]})
			if err != nil {
				return err
			}
			if a.exit = exitAccepted; answer.State == "refused" {
				a.exit = exitRejected
			}
			if form == formJSON {
				return report.JSON(a.out, answer)
			}
			return a.reattestText(answer).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	command.ValidArgsFunction = a.completeIDs(server)
	return command
}

func (a *app) reattestText(answer wire.Reattest) report.Blocks {
	lead := []string{"REATTEST", shortID(string(answer.ID))}
	facts := report.Block{}
	switch answer.State {
	case "done":
		lead = append(lead, "SPIRE was told; the agent attests itself at its next contact")
	case "waiting":
		lead = append(lead, "waits for its turn")
		facts.Rows = [][]string{
			{"waiting", fmt.Sprintf("%d nodes, %d a minute", answer.Waiting, answer.PerMinute)},
			{"turn", when(answer.Turn, a.now()) + " at the latest"},
		}
	default:
		lead[0] = "REFUSED"
		facts.Rows = [][]string{{"reason", answer.Reason}}
	}
	return report.Blocks{
		Lead: lead, Good: answer.State != "refused", Bad: answer.State == "refused",
		Blocks: []report.Block{facts}, Next: look("attestd subject history", string(answer.ID)),
	}
}
