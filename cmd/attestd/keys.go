package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

// purposeResult is what keys sign unless a flag says otherwise.
const purposeResult = "result"

func newKeys(a *app) *cobra.Command {
	return nounGroup("keys", "Keys that attestd signs with for others: list, rotate, withdraw",
		newKeysList(a), newKeysRotate(a), newKeysCompromise(a))
}

func newKeysList(a *app) *cobra.Command {
	var server *adminServer
	command := &cobra.Command{
		Use: "ls", Short: "List the keys that attestd signs with",
		Long: `Ls lists keys by what they sign: the one that does now, the one that is next and published already,
those before that are believed until what they signed has ended, and those that were withdrawn.`,
		Example: `  attestd keys ls`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			all, err := asking.Keys(command.Context())
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, all)
			}
			return report.Blocks{
				Lead:   []string{"KEYS", fmt.Sprintf("%d", len(all.Keys))},
				Blocks: []report.Block{keyRows(all.Keys)}, Next: "attestd keys rotate",
			}.Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	return command
}

func keyRows(list []wire.Key) report.Block {
	rows := report.Block{Heads: []string{"for", "state", "since", "believed until", "kid"}}
	for _, key := range list {
		since, until := key.PublishedAt, minute(key.PublishedUntil)
		switch {
		case !key.EndedAt.IsZero():
			since = key.EndedAt
		case !key.ActiveAt.IsZero():
			since = key.ActiveAt
		}
		if key.State == "withdrawn" {
			until = "no more"
		}
		rows.Rows = append(rows.Rows, []string{
			attestd.Excerpt(key.Purpose, 20), attestd.Excerpt(key.State, 20), minute(since), until,
			attestd.Excerpt(key.ID, 60),
		})
	}
	return rows
}

// minute is a time in the room that a line with a whole kid leaves.
func minute(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format("2006-01-02T15:04Z")
}

func newKeysRotate(a *app) *cobra.Command {
	var server *adminServer
	var purpose string
	command := &cobra.Command{
		Use: "rotate", Short: "Let the next key sign",
		Long: `Rotate lets the next key sign from now on and publishes another one for the time after it. What
was signed before stays good until it ends; the private half of the key before is destroyed.
Attestd does this by itself every results.rotate. For a key that was lost: attestd keys compromise.`,
		Example: `  attestd keys rotate`,
		Args:    arguments(0, 0, ""),
		RunE: func(command *cobra.Command, _ []string) error {
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			done, err := asking.RotateKey(command.Context(), purpose)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			return report.Blocks{
				Lead: []string{"ROTATED", attestd.Excerpt(done.Active.ID, 60) + " signs"}, Good: true,
				Blocks: []report.Block{keyRows([]wire.Key{done.Active, done.Next, done.Before})},
				Next:   "attestd keys ls",
			}.Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	command.Flags().StringVar(&purpose, "purpose", purposeResult, "`WHAT` the key signs")
	return command
}

func newKeysCompromise(a *app) *cobra.Command {
	var server *adminServer
	var ask wire.KeyCompromise
	var since string
	command := &cobra.Command{
		Use: "compromise KID", Short: "Withdraw a key that somebody else may have",
		Long: `Compromise takes a key out of the published set at once and has a new one sign. Readers that keep
to the set's age believe the old one for five minutes at most. A key that signs goes together with
the next one, which lay beside it.

It prints what attestd itself signed with the key since --since: a result that is not in that list
was signed by somebody else. Results that were good end with the key; ask for new ones.`,
		Example: `  attestd keys compromise wX3k... --reason "state_dir was in a public backup"
  attestd keys compromise wX3k... --reason "laptop lost" --since 2026-11-20T00:00:00Z -o json`,
		Args: arguments(1, 1, "one KID; attestd keys ls has them"),
		RunE: func(command *cobra.Command, args []string) error {
			if ask.Reason == "" {
				return usagef("say how the key was lost: --reason TEXT", "no --reason was given")
			}
			if since != "" {
				at, err := time.Parse(time.RFC3339, since)
				if err != nil {
					return usagef("give it like --since 2026-11-20T00:00:00Z", "--since: %q is no time",
						attestd.Excerpt(since, 40))
				}
				ask.Since = at
			}
			asking, form, err := a.asking(server)
			if err != nil {
				return err
			}
			ask.ID = args[0]
			done, err := asking.CompromiseKey(command.Context(), ask)
			if err != nil {
				return err
			}
			if form == formJSON {
				return report.JSON(a.out, done)
			}
			return compromisedText(done, a.now()).Text(a.out, a.page())
		},
	}
	server = a.adminFlags(command)
	flags := command.Flags()
	flags.StringVar(&ask.Purpose, "purpose", purposeResult, "`WHAT` the key signs")
	flags.StringVar(&ask.Reason, "reason", "", "how the key was lost, for the audit log (required)")
	flags.StringVar(&since, "since", "", "list what it signed since this `TIME` (RFC 3339; default: all)")
	return command
}

// mostShown is how many tokens people are shown; -o json has all.
const mostShown = 20

func compromisedText(done wire.KeyCompromised, now time.Time) report.Blocks {
	signed := report.Block{Heads: []string{"signed by attestd", "result, and appraisal"}}
	for _, one := range done.Signed[:min(len(done.Signed), mostShown)] {
		signed.Rows = append(signed.Rows, []string{
			one.At.UTC().Format(time.RFC3339), attestd.Excerpt(one.ID, 36) + " " + attestd.Excerpt(one.Appraisal, 36),
		})
	}
	about := [][]string{
		{"believed", "by readers that have the old set, until " + when(done.BelievedUntil, now)},
		{"signed", fmt.Sprintf("%d by attestd with that key, %d below", done.Total, len(signed.Rows))},
	}
	if !done.KnownSince.IsZero() {
		about = append(about, []string{"known", "since " + when(done.KnownSince, now) + "; what it signed before is not listed"})
	}
	blocks := []report.Block{
		keyRows(append(append([]wire.Key{}, done.Withdrawn...), done.Active, done.Next)), {Rows: about},
	}
	if len(signed.Rows) != 0 {
		blocks = append(blocks, signed)
	}
	return report.Blocks{
		Lead: []string{"WITHDRAWN", fmt.Sprintf("keys: %d", len(done.Withdrawn)), attestd.Excerpt(done.Active.ID, 60) + " signs"},
		Good: true, Blocks: blocks, Next: "attestd keys ls",
	}
}
