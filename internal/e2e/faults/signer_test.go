package faults_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/ear"
	"github.com/attestd/attestd/internal/keys"
)

// patientSigner is how long a result may take with a signer that never answers: the time of one
// signature, and what a busy host adds.
const patientSigner = 10 * time.Second

// vault holds the keys of results in files, as the daemon's own does, and fails as a cell wants: in the
// place where a KMS or a module on another host would.
type vault struct {
	keys.Vault
	mu     sync.Mutex
	answer func(ctx context.Context, good []byte) ([]byte, error)
}

func (v *vault) set(answer func(ctx context.Context, good []byte) ([]byte, error)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer = answer
}

func (v *vault) Make(ctx context.Context) (keys.Signer, error) {
	made, err := v.Vault.Make(ctx)
	return vaultSigner{made, v}, err
}

func (v *vault) Open(ctx context.Context, id string) (keys.Signer, error) {
	opened, err := v.Vault.Open(ctx, id)
	return vaultSigner{opened, v}, err
}

type vaultSigner struct {
	keys.Signer
	vault *vault
}

func (s vaultSigner) Sign(ctx context.Context, digest [sha256.Size]byte) ([]byte, error) {
	good, err := s.Signer.Sign(ctx, digest)
	s.vault.mu.Lock()
	answer := s.vault.answer
	s.vault.mu.Unlock()
	if err != nil || answer == nil {
		return good, err
	}
	return answer(ctx, good)
}

var errSigner = errors.New("the module is gone")

var signerCells = []cell{
	{"signer", "error", "a signer that fails gives no result, and no verdict that could be taken for one", false, func(w *world) {
		w.vault.set(func(context.Context, []byte) ([]byte, error) { return nil, errSigner })
		w.noResult("while the signer fails", patience)
		w.vault.set(nil)
		w.resultsAgain()
	}},
	{"signer", "timeout", "a signer that never answers keeps nobody", false, func(w *world) {
		w.vault.set(func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
		w.noResult("while the signer hangs", patientSigner)
		w.vault.set(nil)
		w.resultsAgain()
	}},
	{"signer", "slow", "a result that was late is none for what is held by then", false, func(w *world) {
		begun, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		w.vault.set(func(_ context.Context, good []byte) ([]byte, error) {
			once.Do(func() { close(begun) })
			<-goOn
			return good, nil
		})
		late := make(chan answer, 1)
		evidence := w.wanting(w.evidence(w.challenge()))
		go func() { late <- w.verify(evidence) }()
		<-begun
		receipt, err := w.quarantine(false)
		w.must(err)
		if receipt.Grants == 0 {
			w.Errorf("the acknowledgement counts no grant, and a result is under way: %+v", receipt)
		}
		close(goOn)
		w.within(patientSigner, "a late result", func() {
			got := <-late
			w.wants("a result after the acknowledgement", got, attestd.ClassQuarantined, attestd.ClassStoreUnavailable)
			w.without(got)
		})
		w.vault.set(nil)
		w.wants("evidence of what is held", w.attest(), attestd.ClassQuarantined)
	}},
	{"signer", "corrupt", "a signature that does not verify is given to nobody", false, func(w *world) {
		for _, at := range []int{0, 4, 20, -1} {
			w.vault.set(func(_ context.Context, good []byte) ([]byte, error) {
				bad := slices.Clone(good)
				bad[(at+len(bad))%len(bad)] ^= 4
				return bad, nil
			})
			w.noResult("while signatures are corrupt", patience)
		}
		w.vault.set(nil)
		w.resultsAgain()
	}},
	{"signer", "partial", "a part of a signature is none", false, func(w *world) {
		for _, keep := range []int{0, 1, 35, 69} {
			w.vault.set(func(_ context.Context, good []byte) ([]byte, error) { return good[:min(keep, len(good)-1)], nil })
			w.noResult("while signatures are cut", patience)
		}
		w.vault.set(nil)
		w.resultsAgain()
	}},
	{"signer", "flap", "each result is whole, or there is none", false, func(w *world) {
		var mu sync.Mutex
		calls := 0
		w.vault.set(func(_ context.Context, good []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls%2 == 0 {
				return good, nil
			}
			return nil, errSigner
		})
		for range 6 {
			w.noResult("while the signer fails this time", patience)
			if got := w.attestWithResult(); !w.affirms(got) {
				w.Errorf("when it does not: %s", got)
			}
		}
		w.vault.set(nil)
		w.resultsAgain()
	}},
}

// wanting adds to a request that a result is wanted.
func (w *world) wanting(request map[string]any) map[string]any {
	request["result"] = "ear"
	return request
}

func (w *world) attestWithResult() answer {
	w.Helper()
	return w.verify(w.wanting(w.evidence(w.challenge())))
}

// noResult demands that there is no result, soon, and nothing that could be taken for one, while verdicts
// go on being given to those who want no result.
func (w *world) noResult(what string, most time.Duration) {
	w.Helper()
	w.within(most, "an answer without a result", func() {
		got := w.attestWithResult()
		w.wants(what, got, attestd.ClassStoreUnavailable)
		w.without(got)
	})
	if got := w.attest(); !got.accepted() {
		w.Errorf("%s, without a result: %s", what, got)
	}
}

// without demands that an answer has no result in it.
func (w *world) without(got answer) {
	w.Helper()
	var document struct {
		EAR string `json:"ear"`
	}
	if json.Unmarshal(got.body, &document) == nil && document.EAR != "" {
		w.Errorf("there is a result: %s", got)
	}
}

// affirms reports whether an answer has a result that verifies and affirms.
func (w *world) affirms(got answer) bool {
	w.Helper()
	var document struct {
		EAR string `json:"ear"`
	}
	if !got.accepted() || json.Unmarshal(got.body, &document) != nil {
		return false
	}
	response, err := w.public.Get("http://attestd/.well-known/jwks.json")
	w.must(err)
	defer func() { _ = response.Body.Close() }()
	set, err := io.ReadAll(response.Body)
	w.must(err)
	if response.StatusCode != http.StatusOK {
		w.Fatalf("no keys: %d %s", response.StatusCode, set)
	}
	known, err := ear.ParseKeySet(set)
	w.must(err)
	result, err := ear.Verify(document.EAR, known, ear.Options{
		Now: time.Now(), Leeway: 5 * time.Second, NoAudience: true, AnyNonce: true,
	})
	if err != nil {
		w.Errorf("the result does not verify: %v", err)
		return false
	}
	own := result.Submods[0].Own
	return own != nil && own.Verdict == attestd.VerdictAccepted && own.Subject == string(w.id)
}

// resultsAgain demands that results are given again by themselves, that the fault left no hold or grant
// behind that keeps the machine from anything, and that after a quarantine there are none.
func (w *world) resultsAgain() {
	w.Helper()
	before := w.attestWithResult()
	if !w.affirms(before) {
		w.Errorf("after the fault: %s", before)
	}
	w.recovers()
	got := w.attestWithResult()
	w.wants("a result of what is held", got, attestd.ClassQuarantined)
	w.without(got)
	again, err := http.NewRequestWithContext(context.Background(), http.MethodGet,
		"http://attestd/v1/appraisals/"+before.verdict.ID+"/ear", nil)
	w.must(err)
	w.wants("a result of a verdict from before the hold", w.send(again), attestd.ClassQuarantined)
}
