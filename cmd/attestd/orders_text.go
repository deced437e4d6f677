package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/report"
)

// shownSubjects is how many subjects a receipt lists; JSON has all.
const shownSubjects = 20

// receipt lays the answer to an order out: what changed, where that is in effect, what lives on.
func (v orderVerb) receipt(receipt wire.Receipt, order wire.Order, now time.Time) report.Blocks {
	out := report.Blocks{Lead: v.lead(receipt), Good: !receipt.DryRun && !failed(receipt), Bad: failed(receipt)}
	subjects := report.Block{Heads: []string{"subject", "tenant", "state", "risk epoch"}}
	for _, one := range receipt.Subjects[:min(len(receipt.Subjects), shownSubjects)] {
		subjects.Rows = append(subjects.Rows, []string{
			shortID(string(one.ID)), one.Tenant, one.From.String() + " -> " + one.To.String(),
			strconv.FormatUint(one.Epoch, 10),
		})
	}
	if more := len(receipt.Subjects) - len(subjects.Rows); more > 0 {
		subjects.Rows = append(subjects.Rows, []string{fmt.Sprintf("and %d more: -o json has all", more), "", "", ""})
	}
	channels := report.Block{Heads: []string{"after", "result", "channel", ""}}
	for _, one := range receipt.Channels {
		channels.Rows = append(channels.Rows, []string{lapse(one.After), one.State, one.Name, one.Detail})
	}
	out.Blocks = []report.Block{subjects, channels, {Rows: v.facts(receipt, now)}}
	if receipt.DryRun {
		out.Notes = []string{"Dry run: nothing was changed."}
		out.Next = v.again(order, instanceOf(receipt.Bars))
		return out
	}
	out.Next = look("attestd why", order.Target)
	if len(receipt.Subjects) == 1 {
		out.Next = "attestd subject show " + typable(string(receipt.Subjects[0].ID), instanceOf(receipt.Bars))
	}
	return out
}

func (v orderVerb) lead(receipt wire.Receipt) []string {
	word := v.done
	if receipt.DryRun {
		word = v.would
	}
	lead := []string{word}
	switch len(receipt.Subjects) {
	case 1:
		one := receipt.Subjects[0]
		lead = append(lead, shortID(string(one.ID)), one.From.String()+" -> "+one.To.String())
	default:
		lead = append(lead, number(len(receipt.Subjects), "subject", "subjects"),
			number(len(receipt.Bars), "hold", "holds"))
	}
	for _, one := range receipt.Channels {
		if one.State == "journaled" {
			lead = append(lead, "journaled, not yet in the store")
			break
		}
	}
	if failed(receipt) {
		lead = append(lead, "NOT EVERYWHERE: see failed")
	}
	return lead
}

// facts are the rows below the channels: what is held, what is not, what lives on.
func (v orderVerb) facts(receipt wire.Receipt, now time.Time) [][]string {
	var rows [][]string
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	if len(receipt.Bars) > 0 {
		word := "held"
		if v.name == releaseVerb.name {
			word = "lifted"
		}
		add(word, "%s", strings.Join(receipt.Bars, ", "))
	}
	if receipt.Shared > 0 {
		add("not held", "%s on the same host (--host includes them)",
			number(receipt.Shared, "other subject", "other subjects"))
	}
	since := ""
	if !receipt.GrantsSince.IsZero() {
		since = "; counted since " + receipt.GrantsSince.UTC().Format(time.RFC3339)
	}
	switch {
	case v.name == releaseVerb.name:
	case receipt.Grants == 0:
		add("still valid", "no grant of before is in force%s", since)
	default:
		add("still valid", "%d given before, the last until %s%s: for peers that do not ask attestd",
			receipt.Grants, when(receipt.GrantsUntil, now), since)
	}
	if receipt.Hostile != "" && v.name != releaseVerb.name {
		add("hostile node", "%s", receipt.Hostile)
	}
	if receipt.Undo != "" && !receipt.DryRun {
		add("undo", "%s", receipt.Undo)
	}
	return rows
}

// again is the order without --dry-run.
func (v orderVerb) again(order wire.Order, instance string) string {
	words := []string{"attestd", v.name, typable(order.Target, instance), "--reason", report.QuoteArg(order.Reason)}
	for _, one := range []struct{ flag, value string }{
		{"--ticket", order.Ticket}, {"--reimaged", order.Reimaged}, {"--tenant", order.Tenant},
	} {
		if one.value != "" {
			words = append(words, one.flag, report.QuoteArg(one.value))
		}
	}
	if order.Scope == "instance" {
		words = append(words, "--scope", order.Scope)
	}
	if order.Host {
		words = append(words, "--host", "--yes")
	}
	if order.Direct {
		words = append(words, "--direct")
	}
	return strings.Join(words, " ")
}

// instanceOf returns the hardware among the keys of a receipt, empty for none.
func instanceOf(keys []string) string {
	for _, key := range keys {
		if value, is := strings.CutPrefix(key, "instance:"); is {
			return value
		}
	}
	return ""
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// lapse shows microseconds as people read them.
func lapse(micros int64) string {
	switch d := time.Duration(micros) * time.Microsecond; {
	case d < time.Millisecond:
		return fmt.Sprintf("+%d us", micros)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("+%.1f ms", float64(micros)/1000)
	case d < time.Second:
		return fmt.Sprintf("+%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("+%.1f s", d.Seconds())
	}
}

// when shows a time absolutely, and as seen from now.
func when(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	text := at.UTC().Format(time.RFC3339)
	switch d := now.Sub(at).Round(time.Second); {
	case d > 0:
		return text + " (" + age(d) + " ago)"
	case d < 0:
		return text + " (in " + age(-d) + ")"
	}
	return text + " (now)"
}

// age shows a duration in its two largest units.
func age(d time.Duration) string {
	switch days := d / (24 * time.Hour); {
	case days > 0:
		return fmt.Sprintf("%dd%02dh", days, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
}
