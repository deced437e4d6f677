package api_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestEvidenceThatAnswersAChallengeIsAccepted(t *testing.T) {
	w := newWorld(t, options{})
	for name, row := range map[string]struct {
		wish, members object
		answer        func(attestd.Challenge) []byte
		want          attestd.Freshness
	}{
		"by binding, which is the default": {
			nil, nil, w.bound, attestd.FreshnessBinding,
		},
		"by the nonce as it stands": {
			nil, object{"freshness": "nonce"},
			func(c attestd.Challenge) []byte { return w.enclave(c.Nonce) }, attestd.FreshnessNonce,
		},
		"by a nonce of 64 bytes, for another tenant and purpose": {
			object{"nonce_bytes": 64, "tenant": "blue", "purpose": "node-attestation"},
			object{"freshness": "nonce", "tenant": "blue", "purpose": "node-attestation"},
			func(c attestd.Challenge) []byte { return w.enclave(c.Nonce) }, attestd.FreshnessNonce,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			issued := w.challenge(attestd.FormatNitro, row.wish).Challenge
			request := object{
				"challenge_id": issued.ID, "format": "nitro", "evidence": row.answer(issued),
			}
			for key, value := range row.members {
				request[key] = value
			}
			got := w.post("/v1/verify", request)
			given := w.verdict(got)
			if given.Verdict != attestd.VerdictAccepted || given.Freshness != row.want || given.ID == "" {
				t.Fatalf("got %s", got.body)
			}
			stored := w.do(http.MethodGet, "/v1/appraisals/"+given.ID, "", nil)
			if stored.status != http.StatusOK || !bytes.Equal(stored.body, got.body) {
				t.Errorf("stored %d %s, want what was answered", stored.status, stored.body)
			}
		})
	}
}

func TestAKeyInTheBindingMustBeTheOneNamed(t *testing.T) {
	w := newWorld(t, options{})
	key, other := []byte("0123456789"), []byte("9876543210")
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	digest, err := issued.Binding(key).Digest()
	w.must(err)
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	evidence, err := w.aws.Document(forge.Document{Nonce: digest, PublicKey: key, Milliseconds: &now})
	w.must(err)
	given := w.verdict(w.post("/v1/verify", object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": evidence, "key_spki": other,
	}))
	if given.Verdict != attestd.VerdictRejected || failed(given) == "" {
		t.Errorf("got %s by %q, want rejected by a check", given.Verdict, failed(given))
	}
}

// neg: 154
func TestEvidenceForAnotherChallengeTenantPurposeFormatOrNoneIsRejected(t *testing.T) {
	w := newWorld(t, options{})
	for name, row := range map[string]struct {
		change func(request object, issued attestd.Challenge)
		check  attestd.CheckID
	}{
		"evidence bound to another challenge": {
			func(r object, _ attestd.Challenge) {
				r["evidence"] = w.bound(w.challenge(attestd.FormatNitro, nil).Challenge)
			}, "nitro/nonce",
		},
		"the nonce itself where the binding is demanded": {
			func(r object, c attestd.Challenge) { r["evidence"] = w.enclave(c.Nonce) }, "nitro/nonce",
		},
		"the binding where the nonce itself is demanded": {
			func(r object, _ attestd.Challenge) { r["freshness"] = "nonce" }, "nitro/nonce",
		},
		"a challenge of another tenant": {
			func(r object, _ attestd.Challenge) { r["tenant"] = "blue" }, challenge.CheckKnown,
		},
		"a challenge for another purpose": {
			func(r object, _ attestd.Challenge) { r["purpose"] = "node-attestation" }, challenge.CheckKnown,
		},
		"a challenge for another format": {
			func(r object, _ attestd.Challenge) { r["format"] = "nitrotpm" }, challenge.CheckKnown,
		},
		"a challenge that nobody issued": {
			func(r object, _ attestd.Challenge) { r["challenge_id"] = "00000000-0000-4000-8000-000000000000" },
			challenge.CheckKnown,
		},
		"evidence without a nonce": {
			func(r object, _ attestd.Challenge) { r["evidence"] = w.enclave(nil) }, "nitro/nonce",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			issued := w.challenge(attestd.FormatNitro, nil).Challenge
			request := object{"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued)}
			row.change(request, issued)
			given := w.verdict(w.post("/v1/verify", request))
			if given.Verdict != attestd.VerdictRejected || failed(given) != row.check {
				t.Errorf("got %s by %q, want rejected by %q", given.Verdict, failed(given), row.check)
			}
		})
	}
}

// neg: 152
func TestEvidenceCountsOnceHoweverManyPresentIt(t *testing.T) {
	w := newWorld(t, options{})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	evidence := w.bound(issued)
	var accepted, replayed atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			given := w.verdict(w.do(http.MethodPost, path, "application/octet-stream", evidence))
			switch {
			case given.Verdict == attestd.VerdictAccepted:
				accepted.Add(1)
			case failed(given) == challenge.CheckKnown:
				replayed.Add(1)
			}
		})
	}
	group.Wait()
	if accepted.Load() != 1 || replayed.Load() != 63 {
		t.Errorf("%d accepted, %d refused as replays; want 1 and 63", accepted.Load(), replayed.Load())
	}
}

// neg: 153
func TestTheMalleatedTwinOfUsedEvidenceIsAReplay(t *testing.T) {
	w := newWorld(t, options{})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	digest, err := issued.Binding(nil).Digest()
	w.must(err)
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	for i, malleate := range []func([]byte) []byte{nil, forge.NegateS} {
		evidence, err := w.aws.Document(forge.Document{Nonce: digest, Milliseconds: &now, Signature: malleate})
		w.must(err)
		given := w.verdict(w.post("/v1/verify", object{
			"challenge_id": issued.ID, "format": "nitro", "evidence": evidence,
		}))
		if want := []attestd.CheckID{"", challenge.CheckKnown}[i]; failedOf(given) != want {
			t.Errorf("presentation %d: failed %q, want %q", i, failedOf(given), want)
		}
	}
}

func failedOf(given attestd.Appraisal) attestd.CheckID {
	if given.Verdict == attestd.VerdictAccepted {
		return ""
	}
	return failed(given)
}

func TestARejectionUsesTheChallengeUp(t *testing.T) {
	w := newWorld(t, options{})
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	path := "/v1/verify?format=nitro&challenge_id=" + issued.ID
	first := w.verdict(w.do(http.MethodPost, path, "application/cbor", w.enclave(nil)))
	if failed(first) != "nitro/nonce" || first.ID == "" {
		t.Errorf("first: failed %q with id %q, want nitro/nonce and an id", failed(first), first.ID)
	}
	second := w.verdict(w.do(http.MethodPost, path, "application/cbor", w.bound(issued)))
	if failed(second) != challenge.CheckKnown || second.ID != "" {
		t.Errorf("second: failed %q with id %q, want challenge/known and no id", failed(second), second.ID)
	}
}

// neg: 171
func TestTheSameEvidenceGetsTheSameVerdictInEveryEncoding(t *testing.T) {
	w := newWorld(t, options{})
	at := w.aws.At().UTC().Format(time.RFC3339Nano)
	nonce := []byte("nonce of an archive")
	good, err := w.aws.Document(forge.Document{Nonce: nonce})
	w.must(err)
	debug, err := w.aws.Document(forge.Document{Nonce: nonce, Debug: true})
	w.must(err)
	for name, evidence := range map[string][]byte{
		"good": good, "debug": debug, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0),
		"tampered": append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			query := url.Values{"format": {"nitro"}, "at": {at}, "nonce": {hex.EncodeToString(nonce)}}
			path := "/v1/verify-recorded?" + query.Encode()
			want := w.do(http.MethodPost, path, "application/octet-stream", evidence)
			for encoding, got := range map[string]answer{
				"cbor": w.do(http.MethodPost, path, "application/cbor", evidence),
				"json": w.post("/v1/verify-recorded", object{
					"format": "nitro", "at": at, "nonce": nonce, "evidence": evidence,
				}),
			} {
				if got.status != want.status || !bytes.Equal(got.body, want.body) {
					t.Errorf("%s: got %d %.400s, want %d %.400s", encoding, got.status, got.body, want.status, want.body)
				}
			}
		})
	}
}

func TestRecordedEvidenceLeavesNothingBehind(t *testing.T) {
	w := newWorld(t, options{})
	before := w.store.Commits()
	given := w.verdict(w.post("/v1/verify-recorded", object{"evidence": w.enclave(nil)}))
	if given.Verdict != attestd.VerdictAccepted || given.ID != "" || given.Freshness != attestd.FreshnessNotShown {
		t.Errorf("got %+v", given)
	}
	if got := w.store.Commits() - before; got != 0 {
		t.Errorf("%d commits, want 0", got)
	}
	off := newWorld(t, options{noRecorded: true})
	off.problem(off.post("/v1/verify-recorded", object{"evidence": []byte{1}}), http.StatusForbidden,
		attestd.ClassForbidden)
}

func TestUndecidedIs503WithTheWholeVerdict(t *testing.T) {
	w := newWorld(t, options{})
	amd, err := forge.NewAMD(forge.AMDConfig{})
	w.must(err)
	report := forge.NewSNPReport("Milan", 2)
	vcek, err := amd.IssueVCEK(report.VCEKConfig("Milan"))
	w.must(err)
	signed, err := forge.SignSNP(report.Bytes(), vcek.Key)
	w.must(err)
	got := w.do(http.MethodPost, "/v1/verify-recorded?format=sev-snp", "application/octet-stream", signed)
	read := w.problem(got, http.StatusServiceUnavailable, attestd.ClassCollateralUnavailable)
	if got.header.Get("Retry-After") == "" || read.Appraisal == nil ||
		read.Appraisal.Verdict != attestd.VerdictUndecided || len(read.Appraisal.Checks) == 0 {
		t.Errorf("got %v %s", got.header, got.body)
	}
}

func TestChallengesAreSignedByThePublishedKey(t *testing.T) {
	w := newWorld(t, options{})
	keys := w.do(http.MethodGet, "/v1/keys", "", nil)
	reply := w.challenge(attestd.FormatNitro, nil)
	if err := reply.VerifySignature(keys.body); err != nil {
		t.Error(err)
	}
	if life := reply.Challenge.ExpiresAt.Sub(reply.Challenge.IssuedAt); life > time.Minute || life <= 0 {
		t.Errorf("challenge lives %s, want at most a minute", life)
	}
	if bytes.Contains(keys.body, []byte(`"d"`)) {
		t.Error("the published key set holds a private key")
	}
	reply.Challenge.Tenant = "blue"
	if err := reply.VerifySignature(keys.body); err == nil {
		t.Error("a changed challenge passes")
	}
}

// neg: 158
func TestUnansweredChallengesAreLimited(t *testing.T) {
	w := newWorld(t, options{perSource: 2})
	w.challenge(attestd.FormatNitro, nil)
	w.challenge(attestd.FormatNitro, nil)
	got := w.post("/v1/challenges", object{"format": "nitro"})
	w.problem(got, http.StatusTooManyRequests, attestd.ClassRateLimited)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestAnAppraisalThatIsNotThereIs404(t *testing.T) {
	w := newWorld(t, options{})
	for _, id := range []string{
		"0191b6a2-0000-7000-8000-000000000000", "x", "0191B6A2-0000-7000-8000-000000000000",
		"%2e%2e", "urn:uuid:0191b6a2-0000-7000-8000-000000000000",
	} {
		got := w.do(http.MethodGet, "/v1/appraisals/"+id, "", nil)
		if got.status != http.StatusNotFound {
			t.Errorf("%q: got %d, want 404", id, got.status)
		}
	}
}

func TestHealthReadinessAndMetricsAnswer(t *testing.T) {
	w := newWorld(t, options{})
	for path, want := range map[string]string{
		"/healthz": `"ok"`, "/readyz": `"ready"`, "/metrics": "attestd_challenges_issued_total",
	} {
		got := w.do(http.MethodGet, path, "", nil)
		if got.status != http.StatusOK || !bytes.Contains(got.body, []byte(want)) {
			t.Errorf("%s: got %d %.200s", path, got.status, got.body)
		}
	}
	_ = w.store.Close()
	time.Sleep(2100 * time.Millisecond) // readiness is remembered for two seconds
	w.problem(w.do(http.MethodGet, "/readyz", "", nil), http.StatusServiceUnavailable, attestd.ClassStoreUnavailable)
	w.problem(w.post("/v1/challenges", object{"format": "nitro"}), http.StatusServiceUnavailable,
		attestd.ClassStoreUnavailable)
}

func TestAVerdictReadsBackAsTheVocabularyHasIt(t *testing.T) {
	w := newWorld(t, options{})
	got := w.post("/v1/verify-recorded", object{"evidence": w.enclave(nil)})
	var members map[string]json.RawMessage
	w.must(json.Unmarshal(got.body, &members))
	for _, key := range []string{"schema", "verdict", "format", "tier", "risk_score", "reasons", "checks", "claims", "policy", "evidence_sha256"} {
		if members[key] == nil {
			t.Errorf("member %q is missing", key)
		}
	}
}
