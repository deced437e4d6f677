package main

import (
	"context"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	whynot "github.com/attestd/attestd/internal/why"
	"github.com/attestd/attestd/plugins/spire/workloadattestor/ask"
)

// whyProcess is a process on this node.
type whyProcess struct {
	pid    int32
	folder string
}

// whyProcess asks the workload attestor of this node, and then the server where one is named: a node
// has none of its own.
func (a *app) whyProcess(
	ctx context.Context, process whyProcess, server *adminServer, args []string,
) (wire.Why, error) {
	if process.pid < 1 {
		return wire.Why{}, usagef("give the number of a process, as ps prints it", "--pid is %d", process.pid)
	}
	answer, err := ask.Ask(ctx, process.folder, process.pid)
	if err != nil {
		return wire.Why{}, err
	}
	facts := processFacts(answer)
	target := facts.Agent
	if len(args) == 1 {
		target = args[0]
	}
	if target != "" && server.named(a) != "" {
		asking, err := a.admin(server)
		if err != nil {
			return wire.Why{}, err
		}
		why, err := asking.Why(ctx, target)
		if err != nil {
			return wire.Why{}, err
		}
		facts.Server = &why
	}
	return whynot.ExplainProcess(facts), nil
}

// processFacts is the plugin's answer as it is explained.
func processFacts(answer ask.Answer) whynot.Process {
	process, node := answer.Process, answer.Node
	return whynot.Process{
		PID: answer.PID, Alive: process.Alive, Path: process.Path, SHA256: process.SHA256,
		Workload: process.Workload, Selectors: answer.Selectors, Reasons: answer.Reasons,
		Agent: node.AgentID, Admitted: node.Admitted, State: node.State, Tier: node.Tier,
		Age:   time.Duration(node.AgeMillis) * time.Millisecond,
		Bound: time.Duration(node.BoundMillis) * time.Millisecond, IssuedAt: node.IssuedAt,
		Problem: node.Problem,
	}
}
