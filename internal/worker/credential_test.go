package worker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
)

// public is the head of a TPMT_PUBLIC with the name algorithm SHA-256, and what a test worker is told.
func public(order string) []byte { return append([]byte{0, 0x23, 0, 0x0B}, order...) }

func keysFor(order string) service.CredentialJob {
	return service.CredentialJob{
		AKPublic: public(order), EKPublic: []byte("endorsement key"),
		Secret: make([]byte, service.SecretSize), Entropy: make([]byte, service.EntropySize),
	}
}

// credentialLies are what a worker that was taken over could answer in place of a credential.
var credentialLies = map[string]func(*service.CredentialReply){
	"another key":         func(r *service.CredentialReply) { r.AKName[5] ^= 1 },
	"another algorithm":   func(r *service.CredentialReply) { r.AKName[1] = 0x0C },
	"no name":             func(r *service.CredentialReply) { r.AKName = nil },
	"a longer name":       func(r *service.CredentialReply) { r.AKName = append(r.AKName, 0) },
	"no endorsement key":  func(r *service.CredentialReply) { r.EK = [32]byte{} },
	"no blob":             func(r *service.CredentialReply) { r.Blob = nil },
	"no encrypted secret": func(r *service.CredentialReply) { r.EncryptedSecret = nil },
	"a long blob":         func(r *service.CredentialReply) { r.Blob = make([]byte, 257) },
	"a long secret":       func(r *service.CredentialReply) { r.EncryptedSecret = make([]byte, 1025) },
}

// obeyKeys is the credential maker of a test worker: it does what the attestation key says.
func obeyKeys(job service.CredentialJob) (service.CredentialReply, error) {
	if len(job.AKPublic) < 4 {
		return service.CredentialReply{}, errors.New("no key")
	}
	order := job.AKPublic[4:]
	if do, known := orders[string(order)]; known {
		if err := do(); err != nil {
			return service.CredentialReply{}, err
		}
	}
	sum := sha256.Sum256(job.AKPublic)
	made := service.CredentialReply{
		AKName: append([]byte{0, 0x0B}, sum[:]...), EK: sha256.Sum256(job.EKPublic),
		Blob: []byte("blob"), EncryptedSecret: []byte("encrypted"),
	}
	if lie, known := credentialLies[string(order)]; known {
		lie(&made)
	}
	return made, nil
}

func TestACredentialForAnotherKeyThanWasSentIsRefused(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	for name := range credentialLies {
		t.Run(name, func(t *testing.T) {
			got, err := pool.Credential(context.Background(), keysFor(name))
			var fault *worker.Fault
			if !errors.As(err, &fault) || got.AKName != nil {
				t.Fatalf("got %+v, %v, want a fault and nothing else", got, err)
			}
			mustServe(t, pool)
		})
	}
	made, err := pool.Credential(context.Background(), keysFor("honest"))
	if err != nil || !bytes.Equal(made.Blob, []byte("blob")) {
		t.Fatalf("got %+v, %v", made, err)
	}
	for name, order := range map[string]string{"panics": "panic", "hangs": "hang", "talks nonsense": "garbage"} {
		if _, err := pool.Credential(context.Background(), keysFor(order)); err == nil {
			t.Errorf("a worker that %s made a credential", name)
		}
		mustServe(t, pool)
	}
}

func TestRepliesOfOneKindAreNotTakenForTheOther(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	// "twice" answers with the frame of a verdict.
	if made, err := pool.Credential(context.Background(), keysFor("twice")); err == nil {
		t.Errorf("a verdict was taken for a credential: %+v", made)
	}
}

func TestACredentialTakesAllOfItsRandomnessFromTheJob(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	for name, change := range map[string]func(*service.CredentialJob){
		"no secret":      func(j *service.CredentialJob) { j.Secret = nil },
		"a short secret": func(j *service.CredentialJob) { j.Secret = j.Secret[:31] },
		"no entropy":     func(j *service.CredentialJob) { j.Entropy = nil },
		"large keys":     func(j *service.CredentialJob) { j.AKPublic = public(string(make([]byte, 8<<10))) },
	} {
		job := keysFor("honest")
		change(&job)
		if made, err := pool.Credential(context.Background(), job); err == nil {
			t.Errorf("%s: got %+v", name, made)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := pool.Credential(gone, keysFor("honest")); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: got %v", err)
	}
}

// keyClaims are what an accepted verdict says about the keys of the activation.
func keyClaims(name []byte, ek [32]byte) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"ak_residency":"activated","ak_name":%q,"ek_sha256":%q,`+
		`"clock":5,"reset_count":1,"restart_count":0,"firmware_version":7}`,
		hex.EncodeToString(name), hex.EncodeToString(ek[:])))
}

func TestAnAcceptedVerdictIsAboutTheKeyThatWasAskedAbout(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	name, ek := append([]byte{0, 0x0B}, make([]byte, 32)...), sha256.Sum256([]byte("ek"))
	for claim, row := range map[string]struct {
		claims json.RawMessage
		passes bool
	}{
		"that key":              {keyClaims(name, ek), true},
		"no key":                {json.RawMessage(`{"debug":false}`), false},
		"another key":           {keyClaims(append([]byte{0, 0x0C}, name[2:]...), ek), false},
		"another TPM":           {keyClaims(name, sha256.Sum256([]byte("other"))), false},
		"a key without a state": {bytes.Replace(keyClaims(name, ek), []byte(`"clock":5,`), nil, 1), false},
		"a clock that is text":  {bytes.Replace(keyClaims(name, ek), []byte(`"clock":5,`), []byte(`"clock":"5",`), 1), false},
	} {
		t.Run(claim, func(t *testing.T) {
			job := jobFor(t, "claim "+string(row.claims))
			job.Activation = &attestd.Activation{AKName: name, EK: ek, Earlier: true}
			_, err := pool.Judge(context.Background(), job)
			if (err == nil) != row.passes {
				t.Errorf("got %v, want it to pass: %t", err, row.passes)
			}
			// A right answer is as good as an earlier one, a wrong one never.
			secret := []byte("what only the right TPM gives back")
			for answer, right := range map[string]bool{string(secret): true, "another": false, "": false} {
				job.Activation = &attestd.Activation{
					AKName: name, EK: ek, Secret: sha256.Sum256(secret), Answer: []byte(answer),
				}
				_, err := pool.Judge(context.Background(), job)
				if (err == nil) != (right && row.passes) {
					t.Errorf("answer %q: got %v, want it to pass: %t", answer, err, right && row.passes)
				}
			}
		})
	}
}

// What is accepted with an activation is named by its endorsement key or by its cloud. neg: 182
func TestAnAcceptedMachineHasTheNameOfTheKeyThatAnswered(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	ek := sha256.Sum256([]byte("ek"))
	for instance, passes := range map[string]bool{
		"ek:" + hex.EncodeToString(ek[:]):      true,
		"ek:" + strings.Repeat("9c", 32):       false,
		"gce:acme-prod/europe-west4-a/123":     true,
		"azure:d1b3a1c0":                       true,
		"i-0123456789abcdef0-enc0123456789abc": false,
	} {
		job := jobFor(t, "name "+instance)
		job.Activation = &attestd.Activation{
			AKName: append([]byte{0, 0x0B}, make([]byte, 32)...), EK: ek, Earlier: true,
		}
		if _, err := pool.Judge(context.Background(), job); (err == nil) != passes {
			t.Errorf("%s: got %v, want it to pass: %t", instance, err, passes)
		}
	}
}
