package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/service"
)

var (
	nonce   = bytes.Repeat([]byte{7}, 32)
	binding = attestd.Binding{TrustDomain: "example.org", Format: attestd.FormatNitro, Nonce: nonce}
)

func TestADemandIsWhatItsSpecSaysOrNoneAtAll(t *testing.T) {
	bound, err := attestd.Bound(binding)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := attestd.Fresh(nonce)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("key")
	keyed, err := fresh.WithKey(key)
	if err != nil {
		t.Fatal(err)
	}
	short, err := attestd.Recorded().WithNonce([]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		spec service.DemandSpec
		want attestd.Demand
	}{
		"recorded":                  {service.DemandSpec{Mode: service.DemandRecorded}, attestd.Recorded()},
		"recorded with a nonce":     {service.DemandSpec{Mode: service.DemandRecorded, Nonce: []byte{1}}, short},
		"a nonce":                   {service.DemandSpec{Mode: service.DemandNonce, Nonce: nonce}, fresh},
		"a nonce and a key":         {service.DemandSpec{Mode: service.DemandNonce, Nonce: nonce, KeySPKI: key}, keyed},
		"a binding":                 {service.DemandSpec{Mode: service.DemandBinding, Binding: binding}, bound},
		"nothing":                   {service.DemandSpec{}, attestd.Demand{}},
		"an unknown mode":           {service.DemandSpec{Mode: "any", Nonce: nonce}, attestd.Demand{}},
		"a nonce that is not there": {service.DemandSpec{Mode: service.DemandNonce}, attestd.Demand{}},
		"a nonce that is too short": {service.DemandSpec{Mode: service.DemandNonce, Nonce: nonce[:31]}, attestd.Demand{}},
		"a binding without a nonce": {service.DemandSpec{Mode: service.DemandBinding}, attestd.Demand{}},
		"a binding beside a nonce":  {service.DemandSpec{Mode: service.DemandBinding, Binding: binding, Nonce: nonce}, attestd.Demand{}},
		"a binding beside a key":    {service.DemandSpec{Mode: service.DemandBinding, Binding: binding, KeySPKI: key}, attestd.Demand{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := row.spec.Demand()
			if (err != nil) != row.want.IsZero() || !reflect.DeepEqual(got, row.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, row.want)
			}
		})
	}
}

func TestAJobCrossesAProcessBorderUnchanged(t *testing.T) {
	want := service.Job{
		Format: attestd.FormatSEVSNP, Evidence: []byte{1, 2},
		Endorsements: attestd.Endorsements{Certificates: [][]byte{{3}}, CRLs: [][]byte{{4}}},
		At:           time.Date(2026, 11, 23, 6, 0, 0, 7, time.UTC), Demand: service.DemandSpec{Mode: service.DemandBinding, Binding: binding},
		ChallengeExpiresAt: time.Date(2026, 11, 23, 6, 1, 0, 7, time.UTC),
		Activation:         &attestd.Activation{AKName: []byte{5}, EK: [32]byte{6}, Secret: [32]byte{7}, Answer: []byte{8}, Earlier: true},
		LastSeen: &attestd.TPMState{
			ResetCount: 1, RestartCount: 2, Clock: 3, Firmware: 4,
			IMA: &attestd.IMAState{Offset: 5, Entries: 6, Bank: "SHA256", Register: []byte{7}},
		},
		Policy:     service.Document{Source: "p", Bytes: []byte("policy")},
		References: []service.Document{{Source: "r", Bytes: []byte("references")}},
	}
	sent, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got service.Job
	if err := json.Unmarshal(sent, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func newLocal(t *testing.T) (*service.Local, service.Document) {
	t.Helper()
	judging, err := judge.New(judge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := appraisal.Builtin(appraisal.Production)
	if err != nil {
		t.Fatal(err)
	}
	return service.NewLocal(judging), service.Document{Source: "production", Bytes: policy.Document()}
}

func TestTheJudgeInProcessRefusesWhatItCannotBeAsked(t *testing.T) {
	local, policy := newLocal(t)
	good := service.Job{
		Format: attestd.FormatNitro, Evidence: []byte("x"), At: time.Now(), Policy: policy,
		Demand: service.DemandSpec{Mode: service.DemandRecorded},
	}
	given, err := local.Judge(t.Context(), good)
	if err != nil || given.Verdict != attestd.VerdictRejected {
		t.Fatalf("got %+v, %v; want a rejection", given, err)
	}
	for name, change := range map[string]func(*service.Job){
		"no demand":        func(j *service.Job) { j.Demand = service.DemandSpec{} },
		"no time":          func(j *service.Job) { j.At = time.Time{} },
		"no evidence":      func(j *service.Job) { j.Evidence = nil },
		"no policy":        func(j *service.Job) { j.Policy = service.Document{} },
		"a broken policy":  func(j *service.Job) { j.Policy.Bytes = []byte("schema: x") },
		"broken reference": func(j *service.Job) { j.References = []service.Document{{Source: "r", Bytes: []byte("x")}} },
	} {
		t.Run(name, func(t *testing.T) {
			job := good
			change(&job)
			if given, err := local.Judge(t.Context(), job); err == nil || given.Verdict == attestd.VerdictAccepted {
				t.Errorf("got %+v, %v; want an error", given, err)
			}
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := local.Judge(gone, good); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: got %v", err)
	}
}

func TestARefusalNamesItsCheckAndLooksAtNoEvidence(t *testing.T) {
	local, policy := newLocal(t)
	job := service.Job{Format: attestd.FormatNitro, Evidence: []byte("x"), At: time.Now(), Policy: policy}
	given, err := local.Refuse(job, "challenge/known", "a challenge that was used before", "a new one")
	if err != nil || given.Verdict != attestd.VerdictRejected || len(given.Checks) != 1 ||
		given.Checks[0].ID != "challenge/known" || given.Freshness != attestd.FreshnessNotShown {
		t.Errorf("got %+v, %v", given, err)
	}
	if _, err := local.Refuse(job, "nitro/signature", "", ""); err == nil {
		t.Error("a refusal by a check that is not about challenges")
	}
}

func TestManyPoliciesInATurnAreAllJudgedBy(t *testing.T) {
	local, policy := newLocal(t)
	for i := range 200 { // more than are remembered
		variant := service.Document{Source: "p", Bytes: append(bytes.Clone(policy.Bytes), bytes.Repeat([]byte("\n"), i)...)}
		given, err := local.Judge(t.Context(), service.Job{
			Format: attestd.FormatNitro, Evidence: []byte("x"), At: time.Now(), Policy: variant,
			Demand: service.DemandSpec{Mode: service.DemandRecorded},
		})
		if err != nil || given.Policy.Digest != "sha256:"+variant.Digest() {
			t.Fatalf("got %+v, %v; want the digest of variant %d", given.Policy, err, i)
		}
	}
}
