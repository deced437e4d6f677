package service_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// strict is the policy of the world with a demand that no enclave meets, so that a verdict's word
// tells which of the two was applied.
func strict(t *testing.T, id string) service.Document {
	t.Helper()
	document := owned(t, id)
	document.Bytes = bytes.ReplaceAll(document.Bytes,
		[]byte("{want: [inventory, cloud-account, enrolment], otherwise: 40}"),
		[]byte("{want: [cloud-account], otherwise: reject}"))
	return document
}

// neg: 178
func TestEachVerdictIsByOnePolicyWhileTheyAreReplaced(t *testing.T) {
	verdicts := 1000
	if raceEnabled {
		verdicts = 160
	}
	w := newWorld(t, worldOptions{})
	w.own("default")
	documents := [2]service.Documents{
		{Policy: owned(t, "lax"), Recorded: owned(t, "lax")},
		{Policy: strict(t, "strict"), Recorded: strict(t, "strict")},
	}
	words := map[string]attestd.Verdict{
		digestOf(documents[0].Policy): attestd.VerdictAccepted, digestOf(documents[1].Policy): attestd.VerdictRejected,
	}
	w.must(w.service.Replace(t.Context(), documents[0]))
	done := make(chan struct{})
	var replacing sync.WaitGroup
	replaced := 0
	replacing.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if err := w.service.Replace(context.Background(), documents[i%2]); err != nil {
				t.Errorf("replace: %v", err)
				return
			}
			replaced++
		}
	})
	var verifying sync.WaitGroup
	var mu sync.Mutex
	counts := map[string]int{}
	for range 8 {
		verifying.Go(func() {
			for range verdicts / 8 {
				given, err := w.attest("default", nil)
				if err != nil {
					t.Errorf("verify: %v", err)
					return
				}
				if want, known := words[given.Policy.Digest]; !known || given.Verdict != want {
					t.Errorf("got %s by %s %s: %+v", given.Verdict, given.Policy.ID, given.Policy.Digest, given.Reasons)
				}
				mu.Lock()
				counts[given.Policy.ID]++
				mu.Unlock()
			}
		})
	}
	verifying.Wait()
	close(done)
	replacing.Wait()
	t.Logf("%d verdicts by %v while policies were replaced %d times", verdicts, counts, replaced)
	if len(counts) != 2 || replaced < 2 {
		t.Errorf("both policies must have been in force: %v, replaced %d times", counts, replaced)
	}
}

func digestOf(document service.Document) string { return "sha256:" + document.Digest() }

// neg: 176, 177
func TestDocumentsThatWillNotDoLeaveWhatWasInForce(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.own("default")
	good := service.Documents{Policy: owned(t, "test"), Recorded: owned(t, "recorded")}
	for name, change := range map[string]func(*service.Documents){
		"no policy":                    func(d *service.Documents) { d.Policy = service.Document{} },
		"an empty policy":              func(d *service.Documents) { d.Policy.Bytes = nil },
		"a policy that is no document": func(d *service.Documents) { d.Policy.Bytes = []byte("{[") },
		"a misspelt key": func(d *service.Documents) {
			d.Policy.Bytes = bytes.Replace(d.Policy.Bytes, []byte("measurement/known"), []byte("meassurement/known"), 1)
		},
		"a key twice":            func(d *service.Documents) { d.Policy.Bytes = append(d.Policy.Bytes, "\nid: other\n"...) },
		"no policy for recorded": func(d *service.Documents) { d.Recorded = service.Document{} },
		"reference values that are none": func(d *service.Documents) {
			d.References = []service.Document{{Source: "r", Bytes: []byte("schema: x")}}
		},
		"a tenant's policy that is broken": func(d *service.Documents) {
			d.Tenants = map[string]service.Document{"blue": {Source: "b", Bytes: []byte("schema: x")}}
		},
		"a policy for a tenant that there is not": func(d *service.Documents) {
			d.Tenants = map[string]service.Document{"red": d.Policy}
		},
	} {
		t.Run(name, func(t *testing.T) {
			next := good
			next.Policy.Bytes = bytes.Clone(good.Policy.Bytes)
			change(&next)
			w.in(t).refused(w.service.Replace(t.Context(), next), attestd.ClassConfig)
			given := w.in(t).accepted("default")
			if given.Policy.Digest != digestOf(owned(t, "test")) {
				t.Errorf("another policy is in force: %+v", given.Policy)
			}
		})
	}
}

// TestAJudgeThatCannotUseDocumentsKeepsThemOut: what this process can read and a worker cannot would
// leave every caller without an answer.
func TestAJudgeThatCannotUseDocumentsKeepsThemOut(t *testing.T) {
	w := newWorld(t, worldOptions{judge: func(judge service.Judge) service.Judge {
		return refusing{judge, digestOf(strict(t, "strict"))}
	}})
	before := w.service.Policies()
	err := w.service.Replace(t.Context(), service.Documents{Policy: strict(t, "strict"), Recorded: owned(t, "r")})
	if err == nil || strings.Join(w.service.Policies(), " ") != strings.Join(before, " ") {
		t.Errorf("got %v, in force %v", err, w.service.Policies())
	}
}

// refusing is a judge that has no answer by one policy.
type refusing struct {
	inner
	digest string
}

// inner is a judge that another one asks.
type inner = service.Judge

func (r refusing) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	if digestOf(job.Policy) == r.digest {
		return attestd.Appraisal{}, fmt.Errorf("no answer by this policy")
	}
	return r.inner.Judge(ctx, job)
}

// TestReplaceReturnsWhenTheLastVerdictByTheOldDocumentsIsKept: whoever judges stored evidence again
// after it would miss that one otherwise.
func TestReplaceReturnsWhenTheLastVerdictByTheOldDocumentsIsKept(t *testing.T) {
	held, begun := make(chan struct{}), make(chan struct{})
	w := newWorld(t, worldOptions{judge: func(judge service.Judge) service.Judge {
		return &holding{inner: judge, held: held, begun: begun}
	}})
	w.own("default")
	verified := make(chan attestd.Appraisal, 1)
	go func() {
		given, _ := w.attest("default", nil)
		verified <- given
	}()
	<-begun
	documents := service.Documents{Policy: strict(t, "strict"), Recorded: owned(t, "r")}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.service.Replace(soon, documents); err == nil {
		t.Fatal("Replace returned while a verdict by the old documents was under way")
	}
	if policy := w.service.Policies()[0]; !strings.HasPrefix(policy, "strict ") {
		t.Errorf("in force: %s", policy)
	}
	close(held)
	if given := <-verified; given.Policy.ID != "test" {
		t.Errorf("a verdict that was begun before is by %q", given.Policy.ID)
	}
	if given, err := w.attest("default", nil); err != nil || given.Policy.ID != "strict" {
		t.Errorf("a verdict that was begun later is by %q, %v", given.Policy.ID, err)
	}
}

// holding is a judge whose first answer about a challenge waits.
type holding struct {
	inner
	once        sync.Once
	held, begun chan struct{}
}

func (h *holding) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	if job.Demand.Mode == service.DemandBinding {
		h.once.Do(func() {
			close(h.begun)
			<-h.held
		})
	}
	return h.inner.Judge(ctx, job)
}

func TestATenantsOwnPolicyJudgesItsEvidenceAlone(t *testing.T) {
	w := newWorld(t, worldOptions{tenants: map[string]service.Document{"blue": strict(t, "blue-strict")}})
	w.own("blue")
	given, err := w.attest("blue", nil)
	w.must(err)
	if given.Policy.ID != "blue-strict" || given.Verdict != attestd.VerdictRejected {
		t.Errorf("got %s by %s", given.Verdict, given.Policy.ID)
	}
	other := w.machine("i-0aaaaaaaaaaaaaaa0-enc0123456789abcdef")
	other.own("default")
	if given := other.accepted("default"); given.Policy.ID != "test" {
		t.Errorf("another tenant is judged by %s", given.Policy.ID)
	}
	if named := w.service.Policies(); len(named) != 2 || !strings.HasPrefix(named[1], "blue=blue-strict sha256:") {
		t.Errorf("got %v", named)
	}
}

// in is the same world for a test inside this one.
func (w *world) in(t testing.TB) *world {
	inner := *w
	inner.TB = t
	return &inner
}
