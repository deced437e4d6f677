package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

// orderVerb is one of quarantine, release and revoke.
type orderVerb struct {
	name, done, would string
	// send carries it out.
	send func(*client.Client, context.Context, wire.Order) (wire.Receipt, error)
	// direct says that it can be carried out without store and audit.
	direct bool
}

var (
	quarantineVerb = orderVerb{"quarantine", "QUARANTINED", "WOULD QUARANTINE", (*client.Client).Quarantine, true}
	releaseVerb    = orderVerb{"release", "RELEASED", "WOULD RELEASE", (*client.Client).Release, false}
	revokeVerb     = orderVerb{"revoke", "REVOKED", "WOULD REVOKE", (*client.Client).Revoke, true}
)

func newQuarantine(a *app) *cobra.Command {
	var order wire.Order
	command, flags := a.orderCommand(quarantineVerb, &order)
	command.Short = "Hold a subject and its hardware, at once"
	command.Long = `Quarantine holds a subject: from when it is acknowledged on, no grant, no accepted verdict and no
identity is given for it, whatever evidence it gives. The answer says where that is in effect,
which grants of before are still in force, and until when. It also holds the hardware that the
subject is on; its host, which other subjects may share, is held with --host alone.

ID is a SPIFFE ID, the unique beginning of an instance's value (6 characters or more), or
instance:VALUE, host:VALUE. --dry-run says what would be changed and changes nothing.

--direct holds in memory and in a journal without waiting for store and audit: for when those are
down. It is recorded as soon as they are back.`
	command.Example = `  attestd quarantine spiffe://example.org/agent/web-1 --reason alert-4471 --dry-run
  attestd quarantine spiffe://example.org/agent/web-1 --reason alert-4471 --ticket SEC-17
  attestd quarantine 9c41f3aa --reason stolen --host --yes`
	flags.scope(command)
	flags.always(command)
	return command
}

func newRelease(a *app) *cobra.Command {
	var order wire.Order
	command, _ := a.orderCommand(releaseVerb, &order)
	command.Short = "Lift a quarantine after rebirth"
	command.Long = `Release lifts a quarantine. It needs two things: that the machine began anew since (a new boot
that it attested, or --reimaged TICKET), and somebody other than who laid it. The subject is
suspect then, and trusted again once it has given accepted evidence. What is revoked is never
released.`
	command.Example = `  attestd release spiffe://example.org/agent/web-1 --reason re-imaged --dry-run
  attestd release spiffe://example.org/agent/web-1 --reason re-imaged --reimaged OPS-212
  attestd release host:i-0123456789abcdef0 --reason board-replaced`
	command.Flags().StringVar(&order.Reimaged, "reimaged", "", "the re-image's `TICKET`, in place of a new boot")
	complete(command, "reimaged")
	return command
}

func newRevoke(a *app) *cobra.Command {
	var order wire.Order
	command, flags := a.orderCommand(revokeVerb, &order)
	command.Short = "Hold a subject and its hardware for ever"
	command.Long = `Revoke is quarantine that nothing lifts: the name and the hardware give and get nothing any more.
For a machine that may come back, quarantine is enough.`
	command.Example = `  attestd revoke spiffe://example.org/agent/web-1 --reason sold --dry-run
  attestd revoke spiffe://example.org/agent/web-1 --reason sold --ticket OPS-90`
	flags.scope(command)
	flags.always(command)
	return command
}

// orderFlags are what an order takes beside its target.
type orderFlags struct {
	order *wire.Order
	yes   bool
}

// orderCommand makes the command of a verb with what all three take.
func (a *app) orderCommand(verb orderVerb, order *wire.Order) (*cobra.Command, *orderFlags) {
	more := &orderFlags{order: order}
	var server *adminServer
	command := &cobra.Command{
		Use:  verb.name + " ID",
		Args: arguments(1, 1, "one ID"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			order.Target = args[0]
			return a.order(command.Context(), verb, server, *order, more.yes, form)
		},
	}
	server = a.adminFlags(command)
	command.ValidArgsFunction = a.completeIDs(server)
	flags := command.Flags()
	flags.StringVar(&order.Reason, "reason", "", "why, in a `SENTENCE`; it is kept in the audit log")
	flags.StringVar(&order.Ticket, "ticket", "", "`NAME` of the incident or ticket")
	flags.BoolVar(&order.DryRun, "dry-run", false, "say what would be changed, and change nothing")
	return command, more
}

func (f *orderFlags) scope(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.order.Scope, "scope", "subject",
		"`WHAT` is held: subject (name and hardware) or instance (hardware alone)")
	complete(command, "scope", "subject", "instance")
	flags.BoolVar(&f.order.Host, "host", false, "hold the host as well, and with it every subject on it")
	flags.BoolVar(&f.yes, "yes", false, "with --host: you have seen how many that is")
	flags.StringVar(&f.order.Tenant, "tenant", "", "`TENANT` of a name that was never seen")
}

func (f *orderFlags) always(command *cobra.Command) {
	command.Flags().BoolVar(&f.order.Direct, "direct", false,
		"do not wait for store and audit: for when they are down")
}

func (a *app) order(
	ctx context.Context, verb orderVerb, server *adminServer, order wire.Order, yes bool, form string,
) error {
	if strings.TrimSpace(order.Reason) == "" {
		return usagef(`add --reason "...": whoever reads the log at night needs it`, "no --reason was given")
	}
	if order.Scope != "" && order.Scope != "subject" && order.Scope != "instance" {
		return usagef("give one of: subject, instance", "unknown --scope %q", attestd.Excerpt(order.Scope, 40))
	}
	asking, err := a.admin(server)
	if err != nil {
		return err
	}
	if order.Host && !order.DryRun {
		if err := a.countHost(ctx, asking, verb, order, yes); err != nil {
			return err
		}
	}
	receipt, err := verb.send(asking, ctx, order)
	if err != nil {
		return a.orderTrouble(verb, order, err)
	}
	if failed(receipt) {
		a.exit = exitUndecided
	}
	if form == formJSON {
		return report.JSON(a.out, receipt)
	}
	return verb.receipt(receipt, order, a.now()).Text(a.out, a.page())
}

// countHost says how many subjects a host holds before anything is done to them. Without --yes it goes
// no further: a host can carry a tenant's whole fleet.
func (a *app) countHost(
	ctx context.Context, asking *client.Client, verb orderVerb, order wire.Order, yes bool,
) error {
	order.DryRun = true
	preview, err := verb.send(asking, ctx, order)
	if err != nil {
		return a.orderTrouble(verb, order, err)
	}
	var names []string
	for _, one := range preview.Subjects[:min(len(preview.Subjects), 3)] {
		names = append(names, shortID(string(one.ID)))
	}
	if more := len(preview.Subjects) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	hits := fmt.Sprintf("--host holds %s: %s",
		number(len(preview.Subjects), "subject", "subjects"), strings.Join(names, ", "))
	if !yes {
		return usagef("nothing was changed; look at all of them with --dry-run, then repeat with --yes",
			"%s", hits)
	}
	a.warn("%s", hits)
	return nil
}

// orderTrouble points at --direct where store or audit are what is in the way.
func (a *app) orderTrouble(verb orderVerb, order wire.Order, err error) error {
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || !verb.direct || order.Direct || order.DryRun ||
		caller.Class != attestd.ClassStoreUnavailable {
		return err
	}
	return withClass(caller.Class, usagef(caller.Hint+"; if attestd runs and its store does not: repeat with "+
		"--direct, which holds at once and records later", "%w", caller.Err))
}

func failed(receipt wire.Receipt) bool {
	for _, channel := range receipt.Channels {
		if channel.State == "failed" {
			return true
		}
	}
	return false
}
