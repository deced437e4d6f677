package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/report"
)

func newOperator(a *app) *cobra.Command {
	return nounGroup("operator", "Operators: who may do what, for which tenants",
		newOperatorAdd(a), newOperatorList(a), newOperatorRevoke(a), newOperatorWhoami(a))
}

func roleNames() (names []string) {
	for _, role := range operator.Roles() {
		names = append(names, string(role))
	}
	return names
}

func newOperatorAdd(a *app) *cobra.Command {
	var server *adminServer
	var wanted wire.Operator
	command := &cobra.Command{
		Use:   "add NAME",
		Short: "Name an operator, or give one a new token to log in with",
		Long: `Add names an operator and prints a one-time token, once. Hand it over on a way that only that
person reads; they log in with it within minutes, and what they have then is a certificate of
their own.

Roles: viewer reads; operator enrols and re-appraises; security quarantines, releases, revokes and
names operators; issuer is for programs that give out credentials. None includes another, save
that operator and security also read.`,
		Example: `  attestd operator add ann --role security --role operator
  attestd operator add blue-on-call --role security --tenant blue`,
		Args: arguments(1, 1, "one NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			form, err := a.form(formText, formJSON)
			if err != nil {
				return err
			}
			if len(wanted.Roles) == 0 {
				return usagef("add --role viewer, or another of: "+strings.Join(roleNames(), ", "), "no --role was given")
			}
			if err := knownNames("role", wanted.Roles, roleNames()); err != nil {
				return err
			}
			asking, err := a.admin(server)
			if err != nil {
				return err
			}
			wanted.Name = args[0]
			added, err := asking.AddOperator(command.Context(), wanted)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, added)
			}
			return addedText(added, a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringSliceVar(&wanted.Roles, "role", nil, "`ROLE`: "+strings.Join(roleNames(), ", ")+"; may be repeated")
	flags.StringSliceVar(&wanted.Tenants, "tenant", []string{"*"}, "`TENANT` to act for, * for all; may be repeated")
	complete(command, "role", roleNames()...)
	return command
}

func addedText(added wire.OperatorAdded, now time.Time) report.Blocks {
	one := added.Operator
	return report.Blocks{
		Lead: []string{"ADDED", one.Name, strings.Join(one.Roles, ", "), "tenants " + strings.Join(one.Tenants, ", ")},
		Good: true,
		// The token stands alone: login puts lines together that were pasted.
		Blocks: []report.Block{{Rows: [][]string{{added.Token}}}, {Rows: [][]string{
			{"token", "valid until " + when(added.ExpiresAt, now) + ", once; it is not shown again"},
		}}},
		Next: "attestd login --server https://HOST:PORT   # " + one.Name + " types the token there",
	}
}

func newOperatorList(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use: "ls", Short: "List operators",
		Long:    `Ls lists operators with their roles, tenants and the end of their newest certificate.`,
		Example: `  attestd operator ls`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			all, err := asking.Operators(command.Context())
			if err != nil {
				return err
			}
			return a.operators([]string{"OPERATORS", fmt.Sprintf("%d", len(all.Operators))}, all, form)
		},
	}
	server = a.adminFlags(command)
	return command
}

func (a *app) operators(lead []string, all wire.Operators, form string) error {
	if form == formJSON {
		return report.JSON(a.out, all)
	}
	rows := report.Block{Heads: []string{"name", "roles", "tenants", "state", "certificate until"}}
	now := a.now()
	for _, one := range all.Operators {
		state := "active"
		switch {
		case !one.RevokedAt.IsZero():
			state = "revoked"
		case one.CertificateUntil.IsZero():
			state = "not logged in yet"
		case !now.Before(one.CertificateUntil):
			state = "expired"
		}
		rows.Rows = append(rows.Rows, []string{
			one.Name, strings.Join(one.Roles, ","), strings.Join(one.Tenants, ","), state,
			when(one.CertificateUntil, now),
		})
	}
	return report.Blocks{
		Lead: lead, Blocks: []report.Block{rows}, Next: "attestd operator add NAME --role ROLE",
	}.Text(a.out, a.page())
}

func newOperatorRevoke(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use: "revoke NAME", Short: "End every certificate and token of an operator",
		Long: `Revoke ends an operator: from the next request on, none of their certificates or tokens is taken.
What they did stays in the audit log.`,
		Example: `  attestd operator revoke ann`,
		Args:    arguments(1, 1, "one NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			left, err := asking.RevokeOperator(command.Context(), args[0])
			if err != nil {
				return err
			}
			return a.operators([]string{"REVOKED", attestd.Excerpt(args[0], 100),
				"refused from the next request on"}, left, form)
		},
	}
	server = a.adminFlags(command)
	return command
}

func newOperatorWhoami(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use: "whoami", Short: "Say for whom attestd takes you",
		Long:    `Whoami prints your name, roles and tenants as the server has them, and how it knew you.`,
		Example: `  attestd operator whoami`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			me, err := asking.Whoami(command.Context())
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, me)
			}
			return report.Blocks{
				Lead: []string{me.Name, strings.Join(me.Roles, ", "), "tenants " + strings.Join(me.Tenants, ", ")},
				Blocks: []report.Block{{Rows: [][]string{
					{"server", asking.Server()}, {"known by", me.Via},
				}}}, Next: "attestd status",
			}.Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	return command
}

// again returns the command line that runs, without one flag and without flags that say whom to ask in
// another way: those are needed again.
func again(command *cobra.Command, without string) string {
	words := append(strings.Fields(command.CommandPath()), command.Flags().Args()...)
	command.Flags().Visit(func(flag *pflag.Flag) {
		if flag.Name == without {
			return
		}
		value := flag.Value.String()
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		if flag.Value.Type() == "bool" {
			words = append(words, "--"+flag.Name)
			return
		}
		words = append(words, "--"+flag.Name, report.QuoteArg(attestd.Excerpt(value, 300)))
	})
	return strings.Join(words, " ")
}
