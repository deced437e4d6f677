package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/attestd/attestd"
)

// Algorithm of every signature: ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).
const Algorithm = "ES256"

// maxSigning is how many signatures are under way at once. A signer that never answers holds as many,
// and no more.
const maxSigning = 64

// maxSignature bounds a signature in DER; one of P-256 has at most 72 bytes.
const maxSignature = 80

// Signed is what the ledger remembers of a token.
type Signed struct {
	// ID is the token's own (jti), About what it was made from: an appraisal's id, or zero for none.
	ID, About [16]byte
	// At is when it was signed, ExpiresAt when it ends.
	At, ExpiresAt time.Time
}

// header of a token. There is nothing in it that a reader has to fetch.
type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

// SignJWT signs a payload with the active key and returns it as a compact JWS (RFC 7515) of the type.
// What it was is in the ledger before it is returned.
//
// Errors: an [*attestd.UndecidedError] where the signer or the ledger fails, takes too long, or answers
// with something that is no signature; a plain error where the token would outlive its key.
func (r *Ring) SignJWT(ctx context.Context, typ string, payload []byte, signed Signed) (string, error) {
	signed.At = r.config.Now()
	if !signed.ExpiresAt.After(signed.At) || signed.ExpiresAt.Sub(signed.At) > r.config.Lifetime {
		return "", fmt.Errorf("a token that ends in %s, want at most %s",
			signed.ExpiresAt.Sub(signed.At).Round(time.Second), r.config.Lifetime)
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	for range 2 { // again where the key was withdrawn meanwhile
		token, key, err := r.sign(ctx, typ, payload)
		if err != nil {
			return "", unavailable(ctx, err)
		}
		if err := r.ledger.add(ctx, key, signed); err != nil {
			return "", unavailable(ctx, err)
		}
		// Last: what is given after a compromise is signed by another key, or not given.
		if r.stands(key) {
			return token, nil
		}
	}
	return "", unavailable(ctx, errors.New("the key was withdrawn meanwhile"))
}

// stands reports whether what the key signed is still believed.
func (r *Ring) stands(id string) bool {
	now := r.config.Now()
	for _, key := range r.List() {
		if key.ID == id {
			return key.published(now)
		}
	}
	return false
}

func (r *Ring) sign(ctx context.Context, typ string, payload []byte) (token, id string, err error) {
	r.mu.RLock()
	signer := r.signer
	r.mu.RUnlock()
	if signer == nil {
		return "", "", errors.New("there is no key that signs")
	}
	public := signer.Public()
	if id, err = KeyID(public); err != nil {
		return "", "", err
	}
	head, err := json.Marshal(header{Algorithm, id, typ})
	if err != nil {
		return "", "", err
	}
	encode := base64.RawURLEncoding
	input := encode.AppendEncode(nil, head)
	input = encode.AppendEncode(append(input, '.'), payload)
	digest := sha256.Sum256(input)
	der, err := r.ask(ctx, signer, digest)
	if err != nil {
		return "", "", err
	}
	raw, err := rawSignature(der)
	if err != nil {
		return "", "", err
	}
	// A signer that errs gives away its key, or what nobody can verify. Neither is handed on.
	if !ecdsa.VerifyASN1(public, digest[:], der) {
		return "", "", errors.New("the signer's answer is no signature of what it was asked")
	}
	return string(encode.AppendEncode(append(input, '.'), raw)), id, nil
}

// ask asks the signer, and waits no longer than ctx: a signer need not keep to it.
func (r *Ring) ask(ctx context.Context, signer Signer, digest [sha256.Size]byte) ([]byte, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errors.New("the signer is busy")
	}
	type answer struct {
		der []byte
		err error
	}
	given := make(chan answer, 1)
	go func() {
		defer func() { <-r.slots }()
		der, err := signer.Sign(ctx, digest)
		given <- answer{der, err}
	}()
	select {
	case got := <-given:
		if got.err != nil {
			return nil, fmt.Errorf("the signer failed: %s", attestd.Excerpt(got.err.Error(), 120))
		}
		return got.der, nil
	case <-ctx.Done():
		return nil, errors.New("the signer did not answer in time")
	}
}

// rawSignature turns DER into both halves, each of 32 bytes (RFC 7518, section 3.4).
func rawSignature(der []byte) ([]byte, error) {
	bad := errors.New("the signer's answer is no signature")
	if len(der) > maxSignature {
		return nil, bad
	}
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &pair)
	if err != nil || len(rest) != 0 {
		return nil, bad
	}
	raw := make([]byte, 2*coordinate)
	for i, half := range []*big.Int{pair.R, pair.S} {
		if half == nil || half.Sign() <= 0 || half.BitLen() > 8*coordinate {
			return nil, bad
		}
		half.FillBytes(raw[i*coordinate : (i+1)*coordinate])
	}
	return raw, nil
}

// CheckSigner names the check that no answer of a signer makes undecided.
const CheckSigner attestd.CheckID = "result/signer"

func unavailable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &attestd.UndecidedError{
		Check: CheckSigner, Class: attestd.ClassStoreUnavailable,
		Got: "no signature", Want: "a signature by the key that signs", Spec: "attestd: docs/operate/keys.md",
		Hint: "try again; if it lasts, look at the folder of keys and its disk", Err: err,
	}
}
