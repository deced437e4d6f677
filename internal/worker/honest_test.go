package worker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
	"github.com/attestd/attestd/testvectors/forge"
)

// cases are jobs on forged evidence, with the roots that make them authentic.
type cases struct {
	roots []*x509.Certificate
	jobs  map[string]service.Job
}

func newCases(t testing.TB) cases {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	aws, err := forge.NewAWS(forge.AWSOptions{})
	must(err)
	amd, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	must(err)
	nonce := []byte(strings.Repeat("n", 32))
	document, err := aws.Document(forge.Document{Nonce: nonce})
	must(err)
	debug, err := aws.Document(forge.Document{Nonce: nonce, Debug: true})
	must(err)
	fields := forge.NewSNPReport("Milan", 2)
	vcek, err := amd.IssueVCEK(fields.VCEKConfig("Milan"))
	must(err)
	report, err := forge.SignSNP(fields.Bytes(), vcek.Key)
	must(err)

	recorded := service.DemandSpec{Mode: service.DemandRecorded}
	fresh := service.DemandSpec{Mode: service.DemandNonce, Nonce: nonce}
	job := func(evidence []byte, demand service.DemandSpec, policy string) service.Job {
		p, err := appraisal.Builtin(policy)
		must(err)
		return service.Job{
			Evidence: evidence, At: aws.At(), Demand: demand,
			Policy: service.Document{Source: policy, Bytes: p.Document()},
		}
	}
	tampered := append([]byte(nil), document...)
	tampered[len(tampered)/2] ^= 1
	snp := job(report, recorded, appraisal.Recorded)
	snp.Endorsements.Certificates = [][]byte{vcek.DER, amd.ASK.Raw}
	lonely := job(report, recorded, appraisal.Recorded)
	strict := job(report, recorded, appraisal.Production)
	strict.Endorsements = snp.Endorsements
	late := job(document, fresh, appraisal.Production)
	late.At = late.At.Add(48 * time.Hour)
	activated, lost, unanswered, backward := newTPMJobs(t, nonce)
	instances, err := forge.NewAWS(forge.AWSOptions{ModuleID: forge.NitroTPMModuleID})
	must(err)
	both, err := forge.Composite(nonce, forge.SNPPart(fields, vcek.Key),
		forge.NitroTPMPart(instances, forge.Document{}))
	must(err)
	composed := job(both, fresh, appraisal.Recorded)
	composed.Format, composed.Endorsements = attestd.FormatComposite, snp.Endorsements
	early := job(both, recorded, appraisal.Recorded)
	early.Format, early.Endorsements = attestd.FormatComposite, snp.Endorsements
	return cases{
		roots: []*x509.Certificate{aws.Root(), amd.ARK, instances.Root()},
		jobs: map[string]service.Job{
			"nitro, recorded":               job(document, recorded, appraisal.Recorded),
			"nitro, fresh":                  job(document, fresh, appraisal.Production),
			"nitro, tampered":               job(tampered, fresh, appraisal.Production),
			"nitro, debug":                  job(debug, fresh, appraisal.Production),
			"nitro, expired":                late,
			"sev-snp, recorded":             snp,
			"sev-snp, production":           strict,
			"sev-snp, without endorsements": lonely,
			"no format at all":              job([]byte("hello"), recorded, appraisal.Recorded),
			"composite, fresh":              composed,
			"composite, recorded":           early,
			"tpm, activated":                activated,
			"tpm, a wrong answer":           lost,
			"tpm, no answer":                unanswered,
			"tpm, gone back":                backward,
		},
	}
}

// newTPMJobs are jobs on a machine whose endorsement key is in the inventory: with the right answer to
// a credential, with a wrong one, with none, and activated earlier but gone back since.
func newTPMJobs(t testing.TB, nonce []byte) (activated, lost, unanswered, backward service.Job) {
	t.Helper()
	tpm := newTPM(t, forge.TPMKeyConfig{Endorsement: true})
	spki, err := tpm.EK.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := tpm.Evidence(nonce, nil)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := parts.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	ek, secret := sha256.Sum256(spki), []byte("what a TPM returns, 32 bytes of.")
	reference := "schema: attestd.reference-values.v1\nname: inventory\nformat: tpm\nendorsement-keys: {m: \"" +
		hex.EncodeToString(ek[:]) + "\"}\n"
	job := service.Job{
		Format: attestd.FormatTPM, Evidence: evidence, At: at,
		Demand:     service.DemandSpec{Mode: service.DemandNonce, Nonce: nonce},
		Policy:     service.Document{Source: "tpm", Bytes: tpmPolicy(t)},
		References: []service.Document{{Source: "inventory", Bytes: []byte(reference)}},
	}
	with := func(activation attestd.Activation, seen *attestd.TPMState) service.Job {
		activation.AKName, activation.EK = tpm.AK.Name, ek
		job.Activation, job.LastSeen = &activation, seen
		return job
	}
	digest := sha256.Sum256(secret)
	last := &attestd.TPMState{
		ResetCount: tpm.ResetCount, RestartCount: tpm.RestartCount, Clock: tpm.Clock - 1,
		IMA: &attestd.IMAState{Offset: 1, Entries: 1, Bank: "SHA256", Register: make([]byte, 32)},
	}
	ahead := *last
	ahead.Clock += 2
	return with(attestd.Activation{Secret: digest, Answer: secret}, last),
		with(attestd.Activation{Secret: digest, Answer: secret[1:]}, nil),
		with(attestd.Activation{Secret: digest}, nil),
		with(attestd.Activation{Earlier: true}, &ahead)
}

// tpmPolicy looks at the order of the clock alone.
func tpmPolicy(t testing.TB) []byte {
	t.Helper()
	inner, err := judge.New(judge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	out := "schema: attestd.policy.v1\nid: tpm\ndescription: test\nformats:\n  tpm:\n" +
		"    measurement/known: any\n    ownership/known: any\n" +
		"    clock-order: {want: [first, forward], otherwise: reject}\n"
	for _, spec := range inner.Specs() {
		name, ours := strings.CutPrefix(string(spec.ID), "tpm/")
		if ours && spec.Stage == attestd.StageAppraise && name != "clock-order" {
			out += "    " + name + ": any\n"
		}
	}
	return []byte(out)
}

// TestAWorkerJudgesLikeTheJudge: the same jobs in process and in locked workers give the same
// verdicts and errors, to the byte, again and again and at the same time.
func TestAWorkerJudgesLikeTheJudge(t *testing.T) {
	all := newCases(t)
	inner, err := judge.New(judge.Config{InsecureRoots: all.roots})
	if err != nil {
		t.Fatal(err)
	}
	local := service.NewLocal(inner)
	pool, log := newPool(t, "real-worker", func(c *worker.Config) {
		c.Size, c.InsecureRoots, c.Recycle = 2, all.roots, 50
	})
	seen := map[attestd.Verdict]int{}
	answers := map[string]string{
		"tpm, activated": "accepted", "tpm, a wrong answer": "rejected", "tpm, no answer": "rejected",
		"tpm, gone back": "rejected", "composite, fresh": "accepted", "composite, recorded": "accepted",
	}
	for name, job := range all.jobs {
		want, wantErr := local.Judge(context.Background(), job)
		if wantErr == nil {
			seen[want.Verdict]++
		}
		if expected := answers[name]; expected != "" && want.Verdict.String() != expected {
			t.Errorf("%s: got %s, %v, want %s", name, want.Verdict, wantErr, expected)
		}
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 5 {
					got, err := pool.Judge(context.Background(), job)
					compare(t, name, got, want, err, wantErr)
				}
			})
		}
		group.Wait()
		t.Logf("%s: %s %s %v", name, want.Verdict, want.Tier, wantErr)
	}
	for _, verdict := range []attestd.Verdict{
		attestd.VerdictAccepted, attestd.VerdictRejected, attestd.VerdictUndecided,
	} {
		if seen[verdict] == 0 {
			t.Errorf("no case is %s: the cases prove less than they should", verdict)
		}
	}
	if stats := pool.Stats(); stats.Faults != 0 {
		t.Errorf("got %+v, want no fault\n%s", stats, log)
	}
}

func compare(t *testing.T, name string, got, want attestd.Appraisal, err, wantErr error) {
	t.Helper()
	gotJSON, _ := json.Marshal(got)
	wantJSON, _ := json.Marshal(want)
	if string(gotJSON) != string(wantJSON) {
		t.Errorf("%s: in a worker %s\nin process %s (%v, %v)", name, gotJSON, wantJSON, err, wantErr)
	}
	var caller, wantCaller *attestd.CallerError
	switch {
	case err == nil && wantErr == nil:
	case !errors.As(err, &caller) || !errors.As(wantErr, &wantCaller) ||
		caller.Class != wantCaller.Class || caller.Hint != wantCaller.Hint || err.Error() != wantErr.Error():
		t.Errorf("%s: in a worker %v, in process %v", name, err, wantErr)
	}
}

// TestALockedWorkerMakesCredentials: behind the filter, without randomness of its own, for both kinds
// of endorsement keys, and the TPM opens what it made.
func TestALockedWorkerMakesCredentials(t *testing.T) {
	pool, log := newPool(t, "real-worker", nil)
	inner, err := judge.New(judge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	local := service.NewLocal(inner)
	for name, config := range map[string]forge.TPMKeyConfig{
		"RSA-2048": {Endorsement: true, Bits: 2048}, "P-256": {Endorsement: true},
	} {
		tpm := newTPM(t, config)
		job := service.CredentialJob{AKPublic: tpm.AK.Public, EKPublic: tpm.EK.Public}
		for i := range 3 {
			random := make([]byte, service.SecretSize+service.EntropySize)
			_, _ = rand.Read(random)
			job.Secret, job.Entropy = random[:service.SecretSize], random[service.SecretSize:]
			made, err := pool.Credential(context.Background(), job)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, log)
			}
			secret, err := tpm.Activate(made.Blob, made.EncryptedSecret)
			if err != nil || !bytes.Equal(secret, job.Secret) {
				t.Errorf("%s, %d: the TPM opened %x, %v", name, i, secret, err)
			}
			want, err := local.Credential(context.Background(), job)
			if err != nil || !reflect.DeepEqual(made, want) {
				t.Errorf("%s: in a worker %+v, in process %+v, %v", name, made, want, err)
			}
		}
		job.AKPublic = tpm.EK.Public
		var caller *attestd.CallerError
		if _, err := pool.Credential(context.Background(), job); !errors.As(err, &caller) ||
			caller.Class != attestd.ClassKeyProperties {
			t.Errorf("%s: a key that is no attestation key: got %v", name, err)
		}
	}
	if stats := pool.Stats(); stats.Faults != 0 || stats.Started != 1 {
		t.Errorf("got %+v, want one worker and no fault\n%s", stats, log)
	}
}

// newTPM is a machine of software with an endorsement key of that kind.
func newTPM(t testing.TB, config forge.TPMKeyConfig) *forge.TPM {
	t.Helper()
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ek, err := forge.NewTPMKey(config)
	if err != nil {
		t.Fatal(err)
	}
	return forge.NewTPM(ak, ek)
}

// TestRootsAreNotAddedByEvidence: without the roots in its set-up, a worker refuses what is signed
// under them.
func TestRootsAreNotAddedByEvidence(t *testing.T) {
	pool, _ := newPool(t, "real-worker", nil)
	got, err := pool.Judge(context.Background(), newCases(t).jobs["nitro, recorded"])
	if err != nil || got.Verdict != attestd.VerdictRejected {
		t.Fatalf("got %v, %v, want rejected", got.Verdict, err)
	}
}

// TestBrokenReferenceValues are the configuration's fault: an answer that says so, and no dead worker.
func TestBrokenReferenceValues(t *testing.T) {
	pool, _ := newPool(t, "real-worker", nil)
	job := newCases(t).jobs["nitro, recorded"]
	job.References = []service.Document{{Source: "refs.yaml", Bytes: []byte("nonsense: [")}}
	_, err := pool.Judge(context.Background(), job)
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Hint == "" {
		t.Fatalf("got %v, want a CallerError with a hint", err)
	}
	if stats := pool.Stats(); stats.Started != 1 || stats.Faults != 0 {
		t.Errorf("got %+v, want the worker to live", stats)
	}
}
