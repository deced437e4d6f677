package keymanager

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"

	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"

	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// hashes are those that signatures are made over: what TLS and X.509 use, and TPMs have.
var hashes = map[keymanagerv1.HashAlgorithm]crypto.Hash{
	keymanagerv1.HashAlgorithm_SHA256: crypto.SHA256,
	keymanagerv1.HashAlgorithm_SHA384: crypto.SHA384,
	keymanagerv1.HashAlgorithm_SHA512: crypto.SHA512,
}

func hashOf(algorithm keymanagerv1.HashAlgorithm) (crypto.Hash, error) {
	if algorithm == keymanagerv1.HashAlgorithm_UNSPECIFIED_HASH_ALGORITHM {
		return 0, fmt.Errorf("%w: hash algorithm is required", keysocket.ErrRefused)
	}
	hash, known := hashes[algorithm]
	if !known {
		return 0, fmt.Errorf("%w: hash algorithm %s, want SHA256, SHA384 or SHA512",
			keysocket.ErrRefused, algorithm)
	}
	return hash, nil
}

// optionsOf reads how SPIRE wants a signature.
func optionsOf(request *keymanagerv1.SignDataRequest) (crypto.SignerOpts, error) {
	switch opts := request.GetSignerOpts().(type) {
	case *keymanagerv1.SignDataRequest_HashAlgorithm:
		hash, err := hashOf(opts.HashAlgorithm)
		if err != nil {
			return nil, err
		}
		return hash, nil
	case *keymanagerv1.SignDataRequest_PssOptions:
		hash, err := hashOf(opts.PssOptions.GetHashAlgorithm())
		if err != nil {
			return nil, err
		}
		return &rsa.PSSOptions{SaltLength: int(opts.PssOptions.GetSaltLength()), Hash: hash}, nil
	default:
		return nil, fmt.Errorf("%w: signer opts is required", keysocket.ErrRefused)
	}
}

// fits refuses what the key cannot do, before it costs a turn or reaches the TPM.
func fits(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) error {
	if hash := opts.HashFunc(); len(digest) != hash.Size() {
		return fmt.Errorf("%w: the digest has %d bytes, and %s has %d",
			keysocket.ErrRefused, len(digest), hash, hash.Size())
	}
	pss, isPSS := opts.(*rsa.PSSOptions)
	switch public.(type) {
	case *ecdsa.PublicKey:
		if isPSS {
			return fmt.Errorf("%w: PSS options are for RSA keys, and this is an EC key",
				keysocket.ErrRefused)
		}
	case *rsa.PublicKey:
		if isPSS && pss.SaltLength != rsa.PSSSaltLengthEqualsHash &&
			pss.SaltLength != rsa.PSSSaltLengthAuto && pss.SaltLength != pss.Hash.Size() {
			return fmt.Errorf("%w: a PSS salt of %d bytes, want %d, as long as the hash",
				keysocket.ErrRefused, pss.SaltLength, pss.Hash.Size())
		}
	default:
		return fmt.Errorf("%w: a key of kind %T", keysocket.ErrRefused, public)
	}
	return nil
}
