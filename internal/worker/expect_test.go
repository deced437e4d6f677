package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
)

// lies are what a worker that was taken over could change in a verdict.
var lies = map[string]func(*attestd.Appraisal){
	"another schema":       func(a *attestd.Appraisal) { a.Schema = "attestd.verdict.v0" },
	"an id":                func(a *attestd.Appraisal) { a.ID = "1" },
	"other evidence":       func(a *attestd.Appraisal) { a.EvidenceSHA256 = strings.Repeat("0", 64) },
	"another policy":       func(a *attestd.Appraisal) { a.Policy.Digest = "sha256:" + strings.Repeat("0", 64) },
	"another policy id":    func(a *attestd.Appraisal) { a.Policy.ID = "recorded" },
	"another time":         func(a *attestd.Appraisal) { a.At = a.At.Add(time.Nanosecond) },
	"no format":            func(a *attestd.Appraisal) { a.Format = "" },
	"another format":       func(a *attestd.Appraisal) { a.Format = attestd.FormatSEVSNP },
	"more freshness":       func(a *attestd.Appraisal) { a.Freshness = attestd.FreshnessNonce },
	"a tier of its own":    func(a *attestd.Appraisal) { a.Tier = attestd.TierMedium },
	"a verdict of its own": func(a *attestd.Appraisal) { a.Verdict = attestd.VerdictRejected },
	"a high risk": func(a *attestd.Appraisal) {
		a.Risk = attestd.Risk(80)
	},
	"accepted undecided": func(a *attestd.Appraisal) { a.Tier = attestd.TierUnknown },
	"no claims":          func(a *attestd.Appraisal) { a.Claims = nil },
	"null claims":        func(a *attestd.Appraisal) { a.Claims = json.RawMessage("null") },
	"broken claims":      func(a *attestd.Appraisal) { a.Claims = json.RawMessage(`{"debug":`) },
	"no checks":          func(a *attestd.Appraisal) { a.Checks = nil },
	"a missing result":   func(a *attestd.Appraisal) { a.Checks[0].Result = attestd.ResultMissing },
	"a rejecting reason": func(a *attestd.Appraisal) { a.Reasons[0].Effect = attestd.EffectRejects },
	"an undecided reason": func(a *attestd.Appraisal) {
		a.Reasons[0].Effect = attestd.EffectUndecided
	},
	"rejected without a reason": func(a *attestd.Appraisal) {
		a.Verdict, a.Tier, a.Risk, a.Reasons = attestd.VerdictRejected, attestd.TierCritical, attestd.Risk(100), nil
	},
	"a control character": func(a *attestd.Appraisal) { a.Checks[0].Got = "\x1b[2J" },
	"a direction mark":    func(a *attestd.Appraisal) { a.Reasons[0].Detail = "abc\u202edef" },
	"control in claims":   func(a *attestd.Appraisal) { a.Claims = json.RawMessage("{\"a\":\"\u202e\"}") },
	"an unknown handle":   func(a *attestd.Appraisal) { a.Handles[0].Kind = "owner" },
	"a handle of nothing": func(a *attestd.Appraisal) { a.Handles[0].Value = "" },
	"a handle with a space": func(a *attestd.Appraisal) {
		a.Handles[0].Value = "i-1 i-2"
	},
	"two instances": func(a *attestd.Appraisal) { a.Handles = append(a.Handles, a.Handles[0]) },
	"a long handle": func(a *attestd.Appraisal) { a.Handles[0].Value = strings.Repeat("x", 257) },
	"many handles": func(a *attestd.Appraisal) {
		for len(a.Handles) < 65 {
			a.Handles = append(a.Handles, attestd.Handle{Kind: attestd.HandleDevice, Value: "d"})
		}
	},
	"an endorsement key that nobody asked about": func(a *attestd.Appraisal) {
		a.Handles[0].Value = "ek:" + strings.Repeat("0", 64)
	},
	"a name without claims": func(a *attestd.Appraisal) {
		a.Verdict, a.Tier, a.Risk = attestd.VerdictRejected, attestd.TierCritical, attestd.Risk(100)
		a.Reasons[0].Effect, a.Claims = attestd.EffectRejects, json.RawMessage("null")
	},
	"too many points":     func(a *attestd.Appraisal) { a.Reasons[0].Points = 101 },
	"negative points":     func(a *attestd.Appraisal) { a.Reasons[0].Points = -1 },
	"an unknown result":   func(a *attestd.Appraisal) { a.Checks[0].Result = 9 },
	"an unknown verdict":  func(a *attestd.Appraisal) { a.Verdict = 9 },
	"too large a verdict": func(a *attestd.Appraisal) { a.Summary = strings.Repeat("x", worker.MaxReply) },
}

// TestALyingWorkerIsRefused: a verdict that is not about what was sent, or that contradicts itself,
// is a fault.
func TestALyingWorkerIsRefused(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	for name := range lies {
		t.Run(name, func(t *testing.T) {
			job := jobFor(t, name)
			job.Format = attestd.FormatNitro
			got, err := pool.Judge(context.Background(), job)
			var fault *worker.Fault
			if !errors.As(err, &fault) {
				t.Fatalf("got %v, %v, want a fault", got.Verdict, err)
			}
			if got.Schema != "" {
				t.Error("got a verdict beside the error")
			}
			mustServe(t, pool)
		})
	}
}

// TestFreshnessFollowsTheDemand: what was demanded and nothing else may come back as accepted.
func TestFreshnessFollowsTheDemand(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	job := jobFor(t, "x")
	job.Demand = service.DemandSpec{Mode: service.DemandNonce, Nonce: bytes.Repeat([]byte{7}, 32)}
	if _, err := pool.Judge(context.Background(), job); err != nil {
		t.Errorf("a nonce that was demanded and shown: %v", err)
	}
	job.Demand = service.DemandSpec{Mode: service.DemandBinding, Binding: attestd.Binding{
		Format: attestd.FormatNitro, Nonce: make([]byte, 32),
	}}
	if _, err := pool.Judge(context.Background(), job); err != nil {
		t.Errorf("a binding that was demanded and shown: %v", err)
	}
	job.Evidence = []byte("more freshness") // a nonce, where a binding was demanded
	if _, err := pool.Judge(context.Background(), job); err == nil {
		t.Error("a nonce was taken for a binding")
	}
}

// TestEveryFieldCrosses: a field that the codec forgot would arrive as its zero.
func TestEveryFieldCrosses(t *testing.T) {
	var verdict attestd.Appraisal
	fill(t, reflect.ValueOf(&verdict).Elem(), new(int))
	verdict.Verdict, verdict.Tier, verdict.Risk = attestd.VerdictRejected, attestd.TierHigh, attestd.Risk(83)
	verdict.Freshness, verdict.Claims = attestd.FreshnessBinding, json.RawMessage(`{"a":1}`)
	verdict.Reasons[0].Effect, verdict.Checks[0].Result = attestd.EffectScored, attestd.ResultFail
	for i := range verdict.Devices {
		verdict.Devices[i].Risk = attestd.Risk(40 + i)
	}
	verdict.Standing = nil // the registry's word, which no worker has
	verdict.Nonce = ""     // the service's: no worker knows who chose a nonce
	got, err := worker.DecodeVerdict(worker.EncodeVerdict(verdict))
	if err != nil || !reflect.DeepEqual(got, verdict) {
		t.Errorf("verdict: %v\n got %+v\nwant %+v", err, got, verdict)
	}

	var job service.Job
	fill(t, reflect.ValueOf(&job).Elem(), new(int))
	job.Policy, job.References = service.Document{}, nil // cross in frames of their own
	job.Collateral = service.Document{}
	gotJob, err := worker.DecodeJob(worker.EncodeJob(job))
	if err != nil || !reflect.DeepEqual(gotJob, job) {
		t.Errorf("job: %v\n got %+v\nwant %+v", err, gotJob, job)
	}

	var bare service.Job // nothing is known from before, and no log was
	fill(t, reflect.ValueOf(&bare).Elem(), new(int))
	bare.Policy, bare.References, bare.Activation, bare.LastSeen.IMA = service.Document{}, nil, nil, nil
	bare.Collateral = service.Document{}
	if got, err := worker.DecodeJob(worker.EncodeJob(bare)); err != nil || !reflect.DeepEqual(got, bare) {
		t.Errorf("bare job: %v\n got %+v\nwant %+v", err, got, bare)
	}

	var keys service.CredentialJob
	fill(t, reflect.ValueOf(&keys).Elem(), new(int))
	if got, err := worker.DecodeCredentialJob(worker.EncodeCredentialJob(keys)); err != nil || !reflect.DeepEqual(got, keys) {
		t.Errorf("keys: %v\n got %+v\nwant %+v", err, got, keys)
	}
	var made service.CredentialReply
	fill(t, reflect.ValueOf(&made).Elem(), new(int))
	if got, err := worker.DecodeCredential(worker.EncodeCredential(made)); err != nil || !reflect.DeepEqual(got, made) {
		t.Errorf("credential: %v\n got %+v\nwant %+v", err, got, made)
	}

	// Every cut and every longer payload is refused.
	for name, row := range map[string]struct {
		whole  []byte
		decode func([]byte) error
	}{
		"verdict": {worker.EncodeVerdict(verdict), func(b []byte) error { _, err := worker.DecodeVerdict(b); return err }},
		"job":     {worker.EncodeJob(job), func(b []byte) error { _, err := worker.DecodeJob(b); return err }},
		"keys": {worker.EncodeCredentialJob(keys), func(b []byte) error {
			_, err := worker.DecodeCredentialJob(b)
			return err
		}},
		"credential": {worker.EncodeCredential(made), func(b []byte) error {
			_, err := worker.DecodeCredential(b)
			return err
		}},
	} {
		whole, decode := row.whole, row.decode
		for cut := range len(whole) {
			if decode(whole[:cut]) == nil {
				t.Errorf("%s: the first %d of %d bytes were taken for a whole", name, cut, len(whole))
			}
		}
		if decode(append(whole, 0)) == nil {
			t.Errorf("%s: a byte too many was taken", name)
		}
	}
}

// fill sets every field to a value that no other field has.
func fill(t *testing.T, v reflect.Value, next *int) {
	*next++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(at.Add(time.Duration(*next))))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(t, v.Field(i), next)
			}
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), next)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), next)
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), next)
		fill(t, v.Index(1), next)
	case v.Kind() == reflect.String:
		v.SetString("text" + string(rune('a'+*next%26)) + strings.Repeat("x", *next/26))
	case v.CanInt():
		v.SetInt(int64(*next % 100))
	case v.CanUint() && v.Type().PkgPath() != "": // a name of a closed set
		v.SetUint(1)
	case v.CanUint():
		v.SetUint(uint64(*next%200) + 1) //nolint:gosec // small
	default:
		t.Fatalf("no way to fill a %s", v.Type())
	}
}

// FuzzReply: whatever a worker replies, decoding it ends, and what it accepts encodes to the same.
func FuzzReply(f *testing.F) {
	f.Add(worker.EncodeVerdict(accepted(jobFor(f, "x"))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		verdict, err := worker.DecodeVerdict(payload)
		if err != nil {
			return
		}
		if again, err := worker.DecodeVerdict(worker.EncodeVerdict(verdict)); err != nil ||
			!reflect.DeepEqual(again, verdict) {
			t.Errorf("decoded %+v, after encoding it again %+v, %v", verdict, again, err)
		}
	})
}
