package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
)

// judgeFunc is a Judge.
type judgeFunc func(context.Context, service.Job) (attestd.Appraisal, error)

// Judge implements [service.Judge].
func (f judgeFunc) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	return f(ctx, job)
}

// Credential implements [service.Judge]; such a judge makes none.
func (judgeFunc) Credential(context.Context, service.CredentialJob) (service.CredentialReply, error) {
	return service.CredentialReply{}, errors.New("this judge makes no credentials")
}

// neg: 169
func TestAPanicUnderneathIsA500AndTheServerLives(t *testing.T) {
	w := newWorld(t, options{slots: 1, judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			if job.Demand.Mode == service.DemandBinding {
				panic("index out of range")
			}
			return real.Judge(ctx, job)
		})
	}})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	read := w.problem(w.do(http.MethodPost, path, rawType, []byte{1}), 500, attestd.ClassInternal)
	if read.Detail != "internal error" || read.ID == "" || !strings.Contains(w.log.String(), read.ID) {
		t.Errorf("got %+v, want nothing but an id that the log has", read)
	}
	// The challenge is used up, the place is free, the process lives.
	if given := w.verdict(w.do(http.MethodPost, path, rawType, w.bound(issued))); failed(given) != challenge.CheckKnown {
		t.Errorf("second use: got %s by %q", given.Verdict, failed(given))
	}
	w.verdict(w.post("/v1/verify-recorded", object{"evidence": w.enclave(nil)}))
}

// neg: 170
func TestACallerThatLeavesGetsNoVerdictStoredAndNoChallengeBack(t *testing.T) {
	asked := make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			once.Do(func() { close(asked); <-ctx.Done() })
			return real.Judge(context.WithoutCancel(ctx), job)
		})
	}})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	url := w.server.URL + "/v1/verify?format=nitro&challenge_id=" + issued.ID
	evidence := w.bound(issued)
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(evidence))
	w.must(err)
	request.Header.Set("Content-Type", rawType)
	left := make(chan error, 1)
	go func() {
		_, err := w.server.Client().Do(request) //nolint:bodyclose // there is no response
		left <- err
	}()
	<-asked
	commits := w.store.Commits()
	leave()
	if err := <-left; err == nil {
		t.Fatal("got an answer, want none")
	}
	w.eventually("the request ended", func() bool { return strings.Contains(w.log.String(), "caller left") })
	if got := w.store.Commits() - commits; got != 0 {
		t.Errorf("%d commits after the caller left, want 0", got)
	}
	again, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(evidence))
	w.must(err)
	again.Header.Set("Content-Type", rawType)
	if given := w.verdict(w.send(again)); failed(given) != challenge.CheckKnown {
		t.Errorf("second use: got %s by %q, want rejected by challenge/known", given.Verdict, failed(given))
	}
}

func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.Fatalf("not seen in 5 s: %s", what)
}

func TestABusyVerifierSendsCallersAwayAndKeepsTheirChallenges(t *testing.T) {
	asked, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{slots: 1, waiting: 0, judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			once.Do(func() { close(asked); <-finish })
			return real.Judge(ctx, job)
		})
	}})
	evidence := w.enclave(nil)
	first := make(chan answer, 1)
	go func() { first <- w.post("/v1/verify-recorded", object{"evidence": evidence}) }()
	<-asked
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	got := w.do(http.MethodPost, path, rawType, w.bound(issued))
	w.problem(got, http.StatusTooManyRequests, attestd.ClassRateLimited)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(finish)
	w.verdict(<-first)
	if given := w.verdict(w.do(http.MethodPost, path, rawType, w.bound(issued))); given.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %s by %q, want accepted: being busy costs no challenge", given.Verdict, failed(given))
	}
}

func TestAJudgementThatTakesTooLongGivesNoVerdict(t *testing.T) {
	for name, late := range map[string]func(ctx context.Context) error{
		"by the time of the service": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"by the time of the judge": func(context.Context) error {
			return fmt.Errorf("worker: timeout: %w", context.DeadlineExceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options{timeout: 20 * time.Millisecond, judge: func(service.Judge) service.Judge {
				return judgeFunc(func(ctx context.Context, _ service.Job) (attestd.Appraisal, error) {
					return attestd.Appraisal{}, late(ctx)
				})
			}})
			got := w.post("/v1/verify-recorded", object{"evidence": []byte{1}})
			problem := w.problem(got, http.StatusTooManyRequests, attestd.ClassRateLimited)
			if !strings.Contains(problem.Detail, "no verdict in time") || got.header.Get("Retry-After") == "" {
				t.Errorf("got %q, Retry-After %q", problem.Detail, got.header.Get("Retry-After"))
			}
		})
	}
}

func TestACallerThatFindsNoPlaceInTimeKeepsItsChallenge(t *testing.T) {
	asked, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w := newWorld(t, options{slots: 1, waiting: 1, timeout: 50 * time.Millisecond, judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			once.Do(func() { close(asked); <-finish })
			return real.Judge(context.WithoutCancel(ctx), job)
		})
	}})
	evidence := w.enclave(nil)
	first := make(chan answer, 1)
	go func() { first <- w.post("/v1/verify-recorded", object{"evidence": evidence}) }()
	<-asked
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	w.problem(w.do(http.MethodPost, path, rawType, w.bound(issued)), http.StatusTooManyRequests, attestd.ClassRateLimited)
	close(finish)
	<-first
	if given := w.verdict(w.do(http.MethodPost, path, rawType, w.bound(issued))); given.Verdict != attestd.VerdictAccepted {
		t.Errorf("got %s by %q, want accepted", given.Verdict, failed(given))
	}
}

// neg: 166
func TestSecretsAreInNoErrorLogOrMetric(t *testing.T) {
	const canary = "canary-d5c1f0a7-never-to-be-shown"
	w := newWorld(t, options{judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			if bytes.HasSuffix(job.Evidence, []byte("!")) {
				return attestd.Appraisal{}, fmt.Errorf("broken in /var/lib/private/%s", "path-canary")
			}
			return real.Judge(ctx, job)
		})
	}})
	var shown strings.Builder
	keep := func(got answer) { shown.Write(got.body) }
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	keep(w.post("/v1/verify", object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": []byte(canary), "key_spki": w.b64(canary),
	}))
	keep(w.post("/v1/verify-recorded", object{"evidence": []byte(canary), "nonce": []byte(canary)}))
	keep(w.post("/v1/verify-recorded", object{"format": "sev-snp", "evidence": []byte(canary)}))
	keep(w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": []byte(canary + "!")}))
	evidence := w.enclave([]byte(canary))
	keep(w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": evidence, "nonce": []byte("another nonce")}))
	keep(w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": []byte("x"), "nonce": []byte(canary)}))
	keep(w.do(http.MethodGet, "/metrics", "", nil))
	for _, form := range []struct{ name, text string }{
		{"evidence", canary}, {"evidence in hex", fmt.Sprintf("%x", canary)}, {"evidence in base64", w.b64(canary)[:40]},
		{"nonce", fmt.Sprintf("%x", issued.Nonce)}, {"nonce in base64", w.b64(string(issued.Nonce))},
	} {
		if strings.Contains(w.log.String(), form.text) {
			t.Errorf("the log holds %s", form.name)
		}
		if strings.Contains(shown.String(), form.text) {
			t.Errorf("an answer holds %s", form.name)
		}
	}
	if strings.Contains(shown.String(), "path-canary") {
		t.Error("an answer holds a private path")
	}
}

func (*world) b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// neg: 167
func TestForeignTextInAnswersAndLogsIsEscapedAndCut(t *testing.T) {
	w := newWorld(t, options{})
	hostile := "\x1b[31mred\nlevel=error msg=\"all is well\"\u202e" + strings.Repeat("long", 200)
	bodies := []answer{
		w.post("/v1/challenges", object{"format": hostile}),
		w.post("/v1/challenges", object{"format": "nitro", "tenant": hostile}),
		w.post("/v1/challenges", object{"format": "nitro", "purpose": hostile}),
		w.post("/v1/verify", object{"challenge_id": hostile, "format": "nitro", "evidence": []byte{1}}),
		w.post("/v1/verify-recorded", object{"evidence": []byte{1}, "at": hostile}),
		w.post("/v1/verify-recorded", object{hostile: 1}),
	}
	request, err := http.NewRequest(http.MethodPost, w.server.URL+"/v1/challenges", strings.NewReader("{}"))
	w.must(err)
	request.Header.Set("Content-Type", strings.Repeat("text/", 1000))
	request.Header.Set("User-Agent", "agent-canary")
	bodies = append(bodies, w.send(request))
	for i, got := range bodies {
		if len(got.body) > 6000 || bytes.ContainsAny(got.body[:len(got.body)-1], "\x1b\n") ||
			bytes.Contains(got.body, []byte("\\u001b")) || bytes.Contains(got.body, []byte("\u202e")) {
			t.Errorf("answer %d shows foreign text as it came: %.300q", i, got.body)
		}
	}
	log := w.log.String()
	if strings.Contains(log, "\\u001b") || strings.Contains(log, "\x1b") || strings.Contains(log, "agent-canary") {
		t.Error("the log shows foreign text as it came")
	}
}

// neg: 168
func TestMetricsDoNotGrowWithWhatCallersMakeUp(t *testing.T) {
	w := newWorld(t, options{judge: func(real service.Judge) service.Judge {
		return judgeFunc(func(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
			given, err := real.Judge(ctx, job)
			if err == nil { // as a worker that evidence has taken over would
				given.Format = attestd.Format("made-up-" + string(job.Evidence))
				given.Checks = append(given.Checks, attestd.Check{
					ID: attestd.CheckID("made-up-" + string(job.Evidence)), Result: attestd.ResultFail,
				})
			}
			return given, err
		})
	}})
	series := func() int {
		time.Sleep(50 * time.Millisecond) // requests are counted when their answers are on their way
		return bytes.Count(w.do(http.MethodGet, "/metrics", "", nil).body, []byte("\n"))
	}
	ask := func(i int) {
		name := fmt.Sprintf("made-up-%d", i)
		w.post("/v1/challenges", object{"format": name})
		w.post("/v1/challenges", object{"format": "nitro", "tenant": name})
		w.post("/v1/verify", object{"challenge_id": name, "format": "nitro", "evidence": []byte(name)})
		w.post("/v1/verify-recorded", object{"format": "nitro", "evidence": []byte(name)})
		w.do("MADE"+strings.ToUpper(name[5:7]), "/"+name, "", nil)
		w.do(http.MethodGet, "/v1/appraisals/"+name, "", nil)
	}
	series()
	ask(0)
	before := series()
	for i := range 50 {
		ask(i)
	}
	if after := series(); after != before {
		t.Errorf("%d lines of metrics after 50 made-up names, want %d", after, before)
	}
}
