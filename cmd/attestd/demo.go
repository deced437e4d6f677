package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/daemon"
	"github.com/attestd/attestd/internal/report"
)

const demoSchema = "attestd.demo.v1"

// demoCase is one piece of evidence with the verdict that it must get.
type demoCase struct {
	name, what   string
	format       attestd.Format
	evidence     []byte
	endorsements attestd.Endorsements
	at           time.Time // zero for now
	expect       attestd.Verdict
	check        attestd.CheckID // that decides; empty where the evidence is accepted
}

// demoCases is what a demo shows, and where it came from.
type demoCases struct {
	source string // "published" or "synthetic"
	notes  []string
	cases  []demoCase
	// roots are test authorities that the server must be told of; in PEM.
	roots []byte
}

type demoDoc struct {
	Schema string    `json:"schema"`
	Source string    `json:"source"`
	Good   bool      `json:"good"`
	Rows   []demoRow `json:"rows"`
}

type demoRow struct {
	Evidence string            `json:"evidence"`
	Format   attestd.Format    `json:"format"`
	What     string            `json:"what"`
	Verdict  attestd.Verdict   `json:"verdict"`
	Expected attestd.Verdict   `json:"expected"`
	Risk     attestd.RiskScore `json:"risk_score"`
	Tier     attestd.Tier      `json:"tier"`
	Check    string            `json:"check"`
	Millis   float64           `json:"milliseconds"`
}

// demo starts a server, sends it evidence through its API and prints what it said. Where folder is
// not empty the evidence is written there first.
func (a *app) demo(ctx context.Context, form string, synthetic bool, folder string) error {
	shown, err := a.demoEvidence(ctx, synthetic)
	if err != nil {
		return err
	}
	if folder != "" {
		note, err := shown.save(folder)
		if err != nil {
			return err
		}
		shown.notes = append(shown.notes, note)
	}
	settings, remove, err := devSettings(0)
	if err != nil {
		return err
	}
	defer remove()
	if len(shown.roots) > 0 {
		path := filepath.Join(filepath.Dir(settings.StateDir), "test-roots.pem")
		if err := os.WriteFile(path, shown.roots, 0o600); err != nil {
			return hinted(err, "set TMPDIR to a folder that can be written to")
		}
		settings.Verify.InsecureRoots = []string{path}
	}
	doc := demoDoc{Schema: demoSchema, Source: shown.source, Good: true}
	var address string
	ctx, stop := untilStopped(ctx)
	defer stop()
	err = a.withDevServer(ctx, settings, func(ctx context.Context, url string) error {
		address = url
		defer a.progress("judging evidence")()
		for _, one := range shown.cases {
			row, good, err := judgeOver(ctx, url, one)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			doc.Good = doc.Good && good
			doc.Rows = append(doc.Rows, row)
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return usagef("start it again", "stopped before every verdict was there")
	}
	if err != nil {
		return err
	}
	if !doc.Good {
		a.exit = exitBug
	}
	if form == formJSON {
		return report.JSON(a.out, doc)
	}
	return doc.text(a, shown.notes, address)
}

// withDevServer is withServer for a machine that cannot isolate: it then judges in this process, and
// says so. A daemon that is not for development never does that.
func (a *app) withDevServer(
	ctx context.Context, settings config.Config, use func(context.Context, string) error,
) error {
	started := false
	err := a.withServer(ctx, settings, func(ctx context.Context, url string) error {
		started = true
		return use(ctx, url)
	})
	if err == nil || started || ctx.Err() != nil {
		return err
	}
	a.warnUnisolated(err)
	settings.Verify.Isolation = config.IsolateNone
	return a.withServer(ctx, settings, use)
}

func (a *app) warnUnisolated(err error) {
	a.warn("evidence is judged in this process and not isolated, for development alone: %s",
		attestd.Excerpt(err.Error(), 300))
}

// withServer runs a server while use runs, and stops it.
func (a *app) withServer(
	ctx context.Context, settings config.Config, use func(context.Context, string) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, stopped := make(chan string, 1), make(chan error, 1)
	go func() {
		stopped <- daemon.Run(ctx, daemon.Options{
			Config: settings, Ready: func(bound daemon.Bound) { ready <- bound.URL },
			// The demo rejects evidence on purpose: only what is broken is worth a line.
			Logger: slog.New(slog.NewJSONHandler(a.err, &slog.HandlerOptions{Level: slog.LevelError})),
		})
	}()
	select {
	case err := <-stopped:
		return startProblem(err)
	case url := <-ready:
		err := use(ctx, url)
		cancel()
		if stopErr := <-stopped; err == nil {
			err = startProblem(stopErr)
		}
		return err
	}
}

// judgeOver sends one case to POST /v1/verify-recorded and reports whether the verdict, and the check
// that decided, are those that it must have.
func judgeOver(ctx context.Context, url string, one demoCase) (demoRow, bool, error) {
	body := map[string]any{"format": one.format, "evidence": one.evidence}
	if !one.at.IsZero() {
		body["at"] = one.at.UTC().Format(time.RFC3339)
	}
	if len(one.endorsements.Certificates) > 0 {
		body["endorsements"] = map[string]any{"certificates": one.endorsements.Certificates}
	}
	began := time.Now()
	verdict, err := post(ctx, url+"/v1/verify-recorded", body)
	if err != nil {
		return demoRow{}, false, err
	}
	check := decidingCheck(verdict)
	row := demoRow{
		Evidence: one.name, Format: one.format, What: one.what, Verdict: verdict.Verdict,
		Expected: one.expect, Risk: verdict.Risk, Tier: verdict.Tier, Check: string(check),
		Millis: float64(time.Since(began).Microseconds()) / 1000,
	}
	good := verdict.Verdict == one.expect && (one.check == "" || check == one.check)
	return row, good, nil
}

// decidingCheck is the worst reason's check, where evidence was not accepted.
func decidingCheck(verdict attestd.Appraisal) attestd.CheckID {
	for _, reason := range verdict.Reasons {
		if reason.Effect != attestd.EffectScored || verdict.Verdict != attestd.VerdictAccepted {
			return reason.Check
		}
	}
	return ""
}

// post sends a question and reads the verdict; an undecided one comes inside a problem document.
func post(ctx context.Context, url string, body any) (attestd.Appraisal, error) {
	var verdict attestd.Appraisal
	doc, err := json.Marshal(body)
	if err != nil {
		return verdict, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(doc))
	if err != nil {
		return verdict, err
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return verdict, err
	}
	defer func() { _ = reply.Body.Close() }()
	const limit = 4 << 20
	answer, err := io.ReadAll(io.LimitReader(reply.Body, limit))
	if err != nil {
		return verdict, err
	}
	if reply.StatusCode == http.StatusOK {
		return verdict, json.Unmarshal(answer, &verdict)
	}
	var problem struct {
		Detail    string             `json:"detail"`
		Appraisal *attestd.Appraisal `json:"appraisal"`
	}
	if err := json.Unmarshal(answer, &problem); err != nil {
		return verdict, fmt.Errorf("%s: %w", reply.Status, err)
	}
	if problem.Appraisal == nil {
		return verdict, fmt.Errorf("%s: %s", reply.Status, attestd.Excerpt(problem.Detail, 200))
	}
	return *problem.Appraisal, nil
}

func (d demoDoc) text(a *app, notes []string, address string) error {
	good := 0
	table := report.Table{
		Good: d.Good, Bad: !d.Good, Notes: notes,
		Heads: []string{"evidence", "what it is", "verdict", "risk", "time", "deciding check"},
		Next:  "attestd verify FILE --recorded   # judges a file you have; attestd dev serves the API",
	}
	for _, row := range d.Rows {
		verdict := row.Verdict.String()
		if row.Verdict == row.Expected {
			good++
		} else {
			verdict += " (WRONG, want " + row.Expected.String() + ")"
		}
		check := row.Check
		if check == "" {
			check = "-"
		}
		table.Rows = append(table.Rows, []string{
			row.Evidence, row.What, verdict, row.Risk.String() + " " + row.Tier.String(),
			fmt.Sprintf("%.1f ms", row.Millis), check,
		})
	}
	word := "DEMO"
	if !d.Good {
		word = "DEMO-FAILED"
	}
	table.Lead = []string{
		word, fmt.Sprintf("%d of %d verdicts as they must be", good, len(d.Rows)),
		strings.ToUpper(d.Source) + " evidence", "through " + address + "/v1/verify-recorded",
	}
	return table.Text(a.out, a.page())
}

// progress says what takes long: a line on standard error after two seconds, and every ten from then
// on. The function that it returns ends it.
func (a *app) progress(what string) func() {
	done, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		for wait := 2 * time.Second; ; wait = 10 * time.Second {
			select {
			case <-done:
				return
			case <-time.After(wait):
				if !a.flags.quiet {
					fmt.Fprintf(a.err, "still %s (%.0f s)\n", what, time.Since(began).Seconds())
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func toPEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}
