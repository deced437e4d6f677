package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/report"
)

// logAnswer is what was found about a log.
type logAnswer struct {
	Schema  string `json:"schema"`
	Verdict string `json:"verdict"` // whole or tampered
	Source  string `json:"source"`
	// Folder that was written.
	Folder string `json:"folder,omitempty"`
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Hash   string `json:"hash"`
	Key    string `json:"key"`
	Pinned bool   `json:"key_pinned"`
	// Kept counts the checkpoints from elsewhere.
	Kept    int    `json:"checkpoints_kept"`
	First   *int64 `json:"first_bad,omitempty"`
	Last    *int64 `json:"first_bad_at_most,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func verifiedLog(log openedLog, found *audit.TamperError) logAnswer {
	answer := logAnswer{
		Schema: "attestd.audit-verify.v1", Verdict: "whole", Source: log.name, Origin: log.checkpoint.Origin,
		Size: log.checkpoint.Size, Hash: base64.StdEncoding.EncodeToString(log.checkpoint.Hash[:]),
		Key: log.key, Pinned: log.pinned, Kept: len(log.kept),
	}
	if found != nil {
		answer.Verdict, answer.First, answer.Last, answer.Problem = "tampered", &found.First, &found.Last, found.What
	}
	return answer
}

func (l logAnswer) text(log openedLog) report.Blocks {
	out := report.Blocks{Good: l.First == nil, Bad: l.First != nil}
	count := fmt.Sprintf("%d entries", l.Size)
	rows := [][]string{{"log", l.Origin}, {"hash", l.Hash}, {"key", l.Key}}
	if l.First != nil {
		out.Lead = []string{"TAMPERED", badIndex(*l.First, *l.Last), l.Problem}
		rows = append(rows, []string{"effect", "from there on the log does not say what happened"})
		out.Next = "attestd audit ls --start " + strconv.FormatInt(max(*l.First-3, 0), 10)
		out.Notes = []string{"Keep a copy of the log as it is, and of every checkpoint and export there is of it."}
		if l.First != l.Last && log.kept == nil {
			out.Notes = append(out.Notes, "An earlier checkpoint (--checkpoint) or export narrows it down.")
		}
	} else {
		out.Lead = []string{"WHOLE", count, "checkpoint of " + l.Origin + " holds"}
		if l.Folder != "" {
			out.Lead = []string{"EXPORTED", count, "to " + l.Folder}
		}
		if l.Kept > 0 {
			out.Lead = append(out.Lead, fmt.Sprintf("with %d kept elsewhere", l.Kept))
		}
		out.Next = "attestd audit ls"
		if l.Folder != "" {
			out.Next = "attestd audit verify " + report.QuoteArg(l.Folder)
		}
	}
	if !l.Pinned {
		out.Notes = append(out.Notes, "The key came with the log: it shows that nothing broke, not who wrote it. "+
			"With --key it is pinned.")
	}
	out.Blocks = []report.Block{{Rows: rows}}
	return out
}

func badIndex(first, last int64) string {
	if first == last {
		return fmt.Sprintf("first bad index %d", first)
	}
	return fmt.Sprintf("first bad index between %d and %d", first, last)
}

// listLog writes a page of the log.
func (a *app) listLog(ctx context.Context, log openedLog, start int64, limit int, form string) error {
	if start < 0 {
		start = max(log.checkpoint.Size-int64(limit), 0)
	}
	page := wire.AuditEntries{
		Schema: "attestd.audit-entries.v1", Start: start, Size: log.checkpoint.Size, Checkpoint: log.signed,
		Key: log.key, Leaves: [][]byte{}, Records: []audit.Record{},
	}
	end := min(start+int64(limit), log.checkpoint.Size)
	for at := start; at < end; at = start + int64(len(page.Leaves)) {
		leaves, err := log.source.Leaves(ctx, at, int(end-at))
		if errors.Is(err, audit.ErrAbsent) || err == nil && len(leaves) == 0 {
			return usagef("attestd audit verify says more", "the log has no entry %d of %d", at, log.checkpoint.Size)
		}
		if err != nil {
			return hinted(err, "look whether the log may be read")
		}
		for _, leaf := range leaves {
			page.Leaves = append(page.Leaves, leaf)
			page.Records = append(page.Records, audit.Read(leaf))
		}
	}
	if form == formJSON {
		return report.JSON(a.out, page)
	}
	return entriesText(page, a.now()).Text(a.out, a.page())
}

func entriesText(page wire.AuditEntries, now time.Time) report.Blocks {
	out := report.Blocks{Next: "attestd audit verify"}
	shown := report.Block{Heads: []string{"number", "time", "who", "what", "outcome", "about"}}
	for index, one := range page.Records {
		about := one.Target
		if one.Reason != "" {
			about += " (" + one.Reason + ")"
		}
		outcome := one.Outcome
		if one.Class != "" {
			outcome += " " + one.Class
		}
		action := one.Action
		if one.Count > 1 {
			action += fmt.Sprintf(" x %d", one.Count)
		}
		shown.Rows = append(shown.Rows, []string{
			strconv.FormatInt(page.Start+int64(index), 10), one.At.UTC().Format(time.DateTime), one.Actor, action,
			outcome, about,
		})
	}
	out.Blocks = []report.Block{shown}
	switch {
	case page.Size == 0:
		out.Lead = []string{"EMPTY", "the log has no entry"}
	case len(page.Records) == 0:
		out.Lead = []string{"NOTHING", fmt.Sprintf("entries from %d on: the log has %d", page.Start, page.Size)}
	default:
		out.Lead = []string{"ENTRIES", fmt.Sprintf("%d to %d of %d", page.Start,
			page.Start+int64(len(page.Records))-1, page.Size)}
		if newest := page.Records[len(page.Records)-1].At; !newest.IsZero() {
			out.Lead = append(out.Lead, "the last "+when(newest, now))
		}
	}
	if page.Start > 0 && len(page.Records) > 0 {
		out.Next = fmt.Sprintf("attestd audit ls --start %d", max(page.Start-int64(len(page.Records)), 0))
	}
	return out
}
