package keymanager

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"

	"github.com/attestd/attestd"
	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// Limits on keys. SPIRE's agent has two ids, which it uses by turns.
const (
	maxKeys  = 8
	maxKeyID = 128
)

// key is a key that can sign. It is immutable.
type key struct {
	kept
	signer      crypto.Signer
	fingerprint string
}

// ring has the agent's keys. A key is made, kept and forgotten by one call at a time; signatures
// and questions go beside that, by the keys as they were before or as they are after.
type ring struct {
	maker  maker
	keeper keeper
	counts *host.Counts
	log    func(message string, args ...any)
	// stateDir is the folder of keys in a TPM, trustDomain the agent's.
	stateDir, trustDomain string
	bootIDFile            string

	agent, others pace
	// turn lets one signature of the key socket's through, so that the agent waits for one at most.
	turn chan struct{}
	// release gives up what the ring holds on to.
	release func()

	// change is for who changes what mutex guards, also while the TPM works and a file is written.
	change sync.Mutex

	mutex      sync.RWMutex
	bootID     string
	generation uint64
	keys       map[string]*key
	enlist     *wire.Enlist
	revision   string
	changed    chan struct{}
}

// restore finds the keys again that a predecessor kept in this boot.
func (r *ring) restore(ctx context.Context) error {
	boot, err := readBootID(r.bootIDFile)
	if err != nil {
		return err
	}
	content, err := r.keeper.load()
	if err != nil {
		return err
	}
	past, err := decode(content)
	if err != nil {
		return err
	}
	r.bootID, r.keys, r.changed = boot, make(map[string]*key), make(chan struct{})
	r.turn = make(chan struct{}, 1)
	r.generation = past.Generation
	if past.BootID != boot {
		past.Keys, past.Enlist = nil, nil
	}
	for _, k := range past.Keys {
		found, err := r.find(ctx, k)
		switch {
		case errors.Is(err, errGone):
			r.log("a key is not good any more: the agent must attest anew", "key", k.ID, "err", err)
		case err != nil:
			return err
		default:
			r.keys[k.ID] = found
		}
	}
	if past.Enlist != nil {
		if err := r.checkEnlist(*past.Enlist); err == nil {
			r.enlist, r.revision = past.Enlist, revisionOf(*past.Enlist)
		}
	}
	if err := r.keep(r.keys, r.generation, r.enlist); err != nil {
		return err
	}
	return r.maker.tidy(r.kept(r.keys))
}

func (r *ring) find(ctx context.Context, k kept) (*key, error) {
	signer, err := r.maker.find(ctx, k)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("a key that was kept: %w", err)
	}
	if !bytes.Equal(spki, k.SPKI) {
		return nil, fmt.Errorf("%w: what was found under the name is another key", errGone)
	}
	return newKey(k, signer), nil
}

func newKey(k kept, signer crypto.Signer) *key {
	digest := sha256.Sum256(k.SPKI)
	return &key{kept: k, signer: signer, fingerprint: hex.EncodeToString(digest[:])}
}

func (r *ring) kept(keys map[string]*key) []kept {
	all := make([]kept, 0, len(keys))
	for _, one := range keys {
		all = append(all, one.kept)
	}
	slices.SortFunc(all, func(a, b kept) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (r *ring) keep(keys map[string]*key, generation uint64, enlist *wire.Enlist) error {
	content, err := encode(document{
		BootID: r.bootID, Generation: generation, Keys: r.kept(keys), Enlist: enlist,
	})
	if err != nil {
		return err
	}
	return r.keeper.save(content)
}

func (r *ring) limit(rate int) {
	r.agent.set(rate)
	r.others.set(rate)
}

func (r *ring) close() {
	if r.release != nil {
		r.release()
	}
}

// sameBoot drops everything where the machine's boot is another than the keys were made in.
func (r *ring) sameBoot() error {
	boot, err := readBootID(r.bootIDFile)
	if err != nil {
		return err
	}
	r.mutex.RLock()
	same := boot == r.bootID
	r.mutex.RUnlock()
	if same {
		return nil
	}
	r.change.Lock()
	defer r.change.Unlock()
	if r.bootID == boot {
		return nil
	}
	r.log("the machine's boot is another: all keys are dropped, and the agent must attest anew")
	dropped := r.kept(r.keys)
	r.bootID = boot
	if err := r.keep(nil, r.generation, nil); err != nil {
		// They are of another boot, and no successor loads them.
		r.log("dropped keys could not be written off", "err", err)
	}
	r.swap(map[string]*key{}, r.generation)
	r.setEnlist(nil)
	r.forget(dropped)
	return nil
}

// swap is called with change held.
func (r *ring) swap(keys map[string]*key, generation uint64) {
	r.mutex.Lock()
	r.keys, r.generation = keys, generation
	r.mutex.Unlock()
}

func (r *ring) setEnlist(enlist *wire.Enlist) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	revision := ""
	if enlist != nil {
		revision = revisionOf(*enlist)
	}
	if revision != r.revision {
		r.enlist, r.revision = enlist, revision
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

func (r *ring) forget(all []kept) {
	for _, k := range all {
		if err := r.maker.remove(k); err != nil {
			r.log("a key that is not used any more could not be removed", "key", k.ID, "err", err)
		}
	}
}

// generate makes a key in the place of the one of that id, if there is any. The old one is good
// until the new one is kept.
func (r *ring) generate(ctx context.Context, id string, wanted keymanagerv1.KeyType) (*key, error) {
	switch {
	case id == "":
		return nil, fmt.Errorf("%w: key id is required", keysocket.ErrRefused)
	case len(id) > maxKeyID:
		return nil, fmt.Errorf("%w: key id has %d bytes, want at most %d",
			keysocket.ErrRefused, len(id), maxKeyID)
	case wanted == keymanagerv1.KeyType_UNSPECIFIED_KEY_TYPE:
		return nil, fmt.Errorf("%w: key type is required", keysocket.ErrRefused)
	}
	if err := r.sameBoot(); err != nil {
		return nil, err
	}
	r.change.Lock()
	defer r.change.Unlock()
	if _, there := r.keys[id]; !there && len(r.keys) >= maxKeys {
		return nil, fmt.Errorf("%w: there are %d keys already, one more under %q is too many",
			keysocket.ErrRefused, len(r.keys), attestd.Excerpt(id, 60))
	}
	signer, k, err := r.maker.make(ctx, wanted)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	k.ID, k.Type, k.SPKI, k.Generation = id, int32(wanted), spki, r.generation+1
	made := newKey(k, signer)
	keys := make(map[string]*key, len(r.keys)+1)
	for name, one := range r.keys {
		keys[name] = one
	}
	keys[id] = made
	enlist := r.enlist
	if enlist != nil && !holds(keys, *enlist) {
		enlist = nil
	}
	if err := r.keep(keys, k.Generation, enlist); err != nil {
		r.forget([]kept{k})
		return nil, err
	}
	old := r.keys[id]
	r.swap(keys, k.Generation)
	r.setEnlist(enlist)
	if old != nil {
		r.forget([]kept{old.kept})
	}
	r.counts.Add("keys_generated")
	return made, nil
}

// get returns the key of an id.
func (r *ring) get(id string) (*key, error) {
	if id == "" {
		return nil, fmt.Errorf("%w: key id is required", keysocket.ErrRefused)
	}
	if err := r.sameBoot(); err != nil {
		return nil, err
	}
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	if one := r.keys[id]; one != nil {
		return one, nil
	}
	return nil, fmt.Errorf("%w: %q", keysocket.ErrNoKey, attestd.Excerpt(id, 60))
}

// all returns the keys in the order of their ids.
func (r *ring) all() ([]*key, error) {
	if err := r.sameBoot(); err != nil {
		return nil, err
	}
	r.mutex.RLock()
	defer r.mutex.RUnlock()
	var found []*key
	for _, one := range r.keys {
		found = append(found, one)
	}
	slices.SortFunc(found, func(a, b *key) int { return strings.Compare(a.ID, b.ID) })
	return found, nil
}

// sign signs with a key, in its turn.
func (r *ring) sign(
	ctx context.Context, turn *pace, one *key, digest []byte, opts crypto.SignerOpts,
) ([]byte, error) {
	if err := fits(one.signer.Public(), digest, opts); err != nil {
		return nil, err
	}
	waited, err := turn.take(ctx)
	if waited {
		r.counts.Add("signatures_delayed")
	}
	if err != nil {
		r.counts.Add("signatures_refused")
		return nil, err
	}
	signature, err := one.signer.Sign(rand.Reader, digest, opts)
	if errors.Is(err, attestertpm.ErrNoKey) {
		r.drop(one)
		return nil, fmt.Errorf("%w: %w", keysocket.ErrNoKey, err)
	}
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	r.counts.Add("signatures")
	return signature, nil
}

// drop forgets a key that the TPM will not use any more: the TPM was reset under a machine that
// went on.
func (r *ring) drop(gone *key) {
	r.change.Lock()
	defer r.change.Unlock()
	if r.keys[gone.ID] != gone {
		return
	}
	r.log("the TPM was reset, a key is dropped, and the agent must attest anew", "key", gone.ID)
	keys := make(map[string]*key, len(r.keys))
	for name, one := range r.keys {
		if one != gone {
			keys[name] = one
		}
	}
	enlist := r.enlist
	if enlist != nil && !holds(keys, *enlist) {
		enlist = nil
	}
	if err := r.keep(keys, r.generation, enlist); err != nil {
		r.log("a dropped key could not be written off", "err", err) // the TPM refuses it all the same
	}
	r.swap(keys, r.generation)
	r.setEnlist(enlist)
	r.forget([]kept{gone.kept})
}

func revisionOf(enlist wire.Enlist) string {
	content, err := json.Marshal(enlist)
	if err != nil {
		panic(err) // a document of the wire's has nothing that cannot be encoded
	}
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}
