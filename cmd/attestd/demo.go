package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
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
	"github.com/attestd/attestd/internal/swtpm"
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
	Schema string `json:"schema"`
	Source string `json:"source"`
	Good   bool   `json:"good"`
	// Missing says what was not shown and why; empty where everything was.
	Missing string    `json:"missing,omitempty"`
	Rows    []demoRow `json:"rows"`
	// Subject is what became of the software TPM's machine; nil where there was none.
	Subject *demoSubject `json:"subject,omitempty"`

	evidence map[string][]byte // made by the demo itself, by file name
	named    attestd.Appraisal // the verdict that names an event
}

// add adds a row and notes whether it is as it must be.
func (d *demoDoc) add(row demoRow, check attestd.CheckID) {
	d.Good = d.Good && row.Verdict == row.Expected && (check == "" || row.Check == string(check))
	d.Rows = append(d.Rows, row)
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
	// Event is what the check saw of a measured boot; empty for other evidence.
	Event  string  `json:"event,omitempty"`
	Millis float64 `json:"milliseconds"`
}

// fill takes over what a server answered.
func (r *demoRow) fill(verdict attestd.Appraisal, began time.Time) {
	r.Verdict, r.Risk, r.Tier = verdict.Verdict, verdict.Risk, verdict.Tier
	r.Check = string(decidingCheck(verdict))
	r.Millis = float64(time.Since(began).Microseconds()) / 1000
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
	doc := demoDoc{
		Schema: demoSchema, Source: shown.source, Good: true, evidence: map[string][]byte{},
	}
	ctx, stop := untilStopped(ctx)
	defer stop()
	boots, err := a.newBootDemo(ctx, filepath.Dir(settings.StateDir))
	switch {
	case errors.Is(err, swtpm.ErrMissing):
		doc.Missing = "measured boot was not shown: " + err.Error()
	case err != nil && ctx.Err() != nil:
		return usagef("start it again", "stopped before every verdict was there")
	case err != nil:
		return err
	default:
		defer func() { _ = boots.tpm.Close() }()
	}
	if err := settle(&settings, shown.roots, boots); err != nil {
		return err
	}
	address, err := a.judgeDemo(ctx, settings, shown.cases, boots, &doc)
	if err != nil && ctx.Err() != nil {
		return usagef("start it again", "stopped before every verdict was there")
	}
	if err != nil {
		return err
	}
	if folder != "" && boots != nil {
		note, err := boots.save(folder, doc.evidence)
		if err != nil {
			return err
		}
		shown.notes = append(shown.notes, note)
	}
	return a.tellDemo(doc, form, shown.notes, address)
}

// settle tells a server of the authorities and the reference values of the demo.
func settle(settings *config.Config, roots []byte, boots *bootDemo) error {
	folder := filepath.Dir(settings.StateDir)
	if boots != nil {
		root, err := boots.ca.RootPEM()
		if err != nil {
			return err
		}
		roots = append(bytes.Clone(roots), root...)
		path := filepath.Join(folder, goldenFile)
		if err := os.WriteFile(path, boots.golden, 0o600); err != nil {
			return hinted(err, "set TMPDIR to a folder that can be written to")
		}
		settings.Verify.LocalReferences, settings.Verify.Policy = []string{path}, demoPolicy
	}
	if len(roots) == 0 {
		return nil
	}
	path := filepath.Join(folder, rootsFile)
	if err := os.WriteFile(path, roots, 0o600); err != nil {
		return hinted(err, "set TMPDIR to a folder that can be written to")
	}
	settings.Verify.InsecureRoots = []string{path}
	return nil
}

// judgeDemo sends everything to a server of its own and returns the server's address.
func (a *app) judgeDemo(
	ctx context.Context, settings config.Config, cases []demoCase, boots *bootDemo, doc *demoDoc,
) (address string, err error) {
	err = a.withDevServer(ctx, settings, func(ctx context.Context, url string) error {
		address = url
		defer a.progress("judging evidence")()
		for _, one := range cases {
			row, err := judgeOver(ctx, url, one)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			doc.add(row, one.check)
		}
		if boots == nil {
			return nil
		}
		doc.named, err = boots.show(ctx, url, doc)
		return err
	})
	return address, err
}

// tellDemo prints what was shown. A demo that could not show everything is no success.
func (a *app) tellDemo(doc demoDoc, form string, notes []string, address string) error {
	switch {
	case !doc.Good:
		a.exit = exitBug
	case doc.Missing != "":
		a.exit = exitUsage
	}
	if form == formJSON {
		return report.JSON(a.out, doc)
	}
	if err := doc.text(a, notes, address); err != nil || doc.named.Schema == "" || a.flags.quiet {
		return err
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	return report.Text(a.out, a.page(), doc.named, report.Verdict{Source: "FILE", Why: why})
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

// judgeOver sends one case to POST /v1/verify-recorded.
func judgeOver(ctx context.Context, url string, one demoCase) (demoRow, error) {
	body := map[string]any{"format": one.format, "evidence": one.evidence}
	if !one.at.IsZero() {
		body["at"] = one.at.UTC().Format(time.RFC3339)
	}
	if len(one.endorsements.Certificates) > 0 {
		body["endorsements"] = map[string]any{"certificates": one.endorsements.Certificates}
	}
	began := time.Now()
	verdict, err := post(ctx, url+"/v1/verify-recorded", body)
	row := demoRow{Evidence: one.name, Format: one.format, What: one.what, Expected: one.expect}
	row.fill(verdict, began)
	return row, err
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

// exchange sends a question as JSON and returns the answer, whatever its status.
func exchange(ctx context.Context, url string, body any) (answer []byte, status int, err error) {
	doc, err := json.Marshal(body)
	if err != nil {
		return nil, 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(doc))
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = reply.Body.Close() }()
	const limit = 4 << 20
	answer, err = io.ReadAll(io.LimitReader(reply.Body, limit))
	return answer, reply.StatusCode, err
}

// post sends a question and reads the verdict; an undecided one comes inside a problem document.
func post(ctx context.Context, url string, body any) (attestd.Appraisal, error) {
	var verdict attestd.Appraisal
	answer, status, err := exchange(ctx, url, body)
	if err != nil {
		return verdict, err
	}
	if status == http.StatusOK {
		return verdict, json.Unmarshal(answer, &verdict)
	}
	var problem struct {
		Detail    string             `json:"detail"`
		Appraisal *attestd.Appraisal `json:"appraisal"`
	}
	if err := json.Unmarshal(answer, &problem); err != nil {
		return verdict, fmt.Errorf("status %d: %w", status, err)
	}
	if problem.Appraisal == nil {
		return verdict, fmt.Errorf("status %d: %s", status, attestd.Excerpt(problem.Detail, 200))
	}
	return *problem.Appraisal, nil
}

func (d demoDoc) text(a *app, notes []string, address string) error {
	good := 0
	table := report.Table{
		Good: d.Good && d.Missing == "", Bad: !d.Good, Notes: notes,
		Heads: []string{"evidence", "what it is", "verdict", "risk", "time", "deciding check"},
	}
	if d.Missing != "" {
		table.Notes = append(table.Notes, d.Missing)
	}
	if d.named.Schema == "" {
		table.Next = "attestd verify FILE --recorded   # judges a file you have; attestd dev serves the API"
	} else {
		table.Notes = append(table.Notes, bootNote)
		if d.Subject != nil {
			table.Notes = append(table.Notes, d.Subject.note())
		}
		table.Notes = append(table.Notes, "The verdict on the other kernel:")
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
	switch {
	case !d.Good:
		word = "DEMO-FAILED"
	case d.Missing != "":
		word = "DEMO-INCOMPLETE"
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
