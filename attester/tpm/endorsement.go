package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// endorsement is the endorsement key with what its maker said about it.
type endorsement struct {
	key         object
	kind        string
	certificate []byte   // DER; nil where the TPM holds none
	chain       [][]byte // DER, from NV
}

// Handles of primary keys of the endorsement hierarchy.
const firstEndorsement, lastEndorsement = 0x81010000, 0x8101ffff

// endorsement finds the endorsement key: first one that persists and has a certificate, then one that
// has a certificate and can be made again, then one that persists, and last it makes one. A key that
// is made is kept, so that the next time it is found.
func (c *connection) endorsement(o Options) (endorsement, error) {
	indices, err := c.handles(firstNVIndex)
	if err != nil {
		return endorsement{}, err
	}
	keys, err := c.persistentEndorsements()
	if err != nil {
		return endorsement{}, err
	}
	chain := c.chain(indices, o)
	var made []endorsement // with a certificate, not persistent
	var problems []error
	for _, kind := range endorsementKinds() {
		if !slices.Contains(indices, kind.certificate) {
			continue
		}
		certificate, bits, err := c.certificate(kind.certificate, o)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		found := endorsement{kind: kind.name, certificate: certificate, chain: chain}
		for _, key := range keys {
			if bytes.Equal(keyBits(key.spki), bits) {
				found.key = key
				return found, nil
			}
		}
		if kind.template != nil {
			made = append(made, found)
		}
	}
	for _, found := range made {
		if found.key, err = c.remake(found, o); err == nil {
			return found, nil
		}
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		// A certificate that belongs to no key here is no reason to go on with a key that nobody vouches
		// for: the evidence would be refused, and for another reason than the true one.
		return endorsement{}, refuse("look at the maker's certificate (tpm2_nvread) and at whether the firmware was "+
			"updated: a new seed leaves old certificates behind",
			fmt.Errorf("no endorsement key fits its certificate: %w", errors.Join(problems...)))
	}
	return c.uncertified(keys, o)
}

// persistentEndorsements lists the keys at handles for endorsement keys that can be one: restricted
// and for decryption.
func (c *connection) persistentEndorsements() ([]object, error) {
	handles, err := c.handles(firstEndorsement)
	if err != nil {
		return nil, err
	}
	var keys []object
	for _, handle := range handles {
		if handle < firstEndorsement || handle > lastEndorsement {
			continue
		}
		key, _, err := c.read(tpm2.TPMHandle(handle))
		if err != nil {
			continue // a key of a kind that is not known here is nobody's endorsement key
		}
		if has := key.public.ObjectAttributes; has.Restricted && has.Decrypt && !has.SignEncrypt {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// certificate reads an EK certificate and the key in it.
func (c *connection) certificate(index uint32, o Options) (der, bits []byte, err error) {
	area, err := c.readNV(index, o.OwnerAuth)
	if err != nil {
		return nil, nil, err
	}
	ders, err := certificates(area)
	if err != nil {
		return nil, nil, fmt.Errorf("EK certificate at NV index 0x%08x: %w", index, err)
	}
	bits, err = certifiedKey(ders[0])
	if err != nil {
		return nil, nil, fmt.Errorf("EK certificate at NV index 0x%08x: %w", index, err)
	}
	return ders[0], bits, nil
}

// chain reads the certificates that the maker left for the chain. What cannot be read is left out: the
// verifier says what it misses.
func (c *connection) chain(indices []uint32, o Options) [][]byte {
	var areas []byte
	for _, index := range indices {
		if index < firstChainIndex || index > lastChainIndex {
			continue
		}
		area, err := c.readNV(index, o.OwnerAuth)
		if err != nil {
			return nil
		}
		areas = append(areas, area...)
	}
	ders, err := certificates(areas)
	if err != nil {
		return nil
	}
	return ders
}

// remake makes the key that a certificate is for, and keeps it.
func (c *connection) remake(found endorsement, o Options) (object, error) {
	for _, kind := range endorsementKinds() {
		if kind.name != found.kind {
			continue
		}
		key, err := c.create(tpm2.TPMRHEndorsement, o.EndorsementAuth, *kind.template)
		if err != nil {
			return object{}, fmt.Errorf("%s: %w", kind.name, err)
		}
		bits, err := certifiedKey(found.certificate)
		if err != nil || !bytes.Equal(keyBits(key.spki), bits) {
			return object{}, errors.Join(c.flush(uint32(key.handle)), fmt.Errorf(
				"the certificate at NV index 0x%08x is for another key than template %s makes",
				kind.certificate, kind.name))
		}
		return c.persist(key, kind.handle, o.OwnerAuth)
	}
	return object{}, fmt.Errorf("no template for %q", found.kind)
}

// uncertified finds or makes an endorsement key that no certificate is for; only an inventory can
// vouch for it.
func (c *connection) uncertified(keys []object, o Options) (endorsement, error) {
	for _, kind := range endorsementKinds() {
		for _, key := range keys {
			if kind.template != nil && matches(key.public, *kind.template) {
				return endorsement{key: key, kind: kind.name}, nil
			}
		}
	}
	kind := endorsementKinds()[0]
	key, err := c.create(tpm2.TPMRHEndorsement, o.EndorsementAuth, *kind.template)
	if err != nil {
		return endorsement{}, fmt.Errorf("%s: %w", kind.name, err)
	}
	key, err = c.persist(key, kind.handle, o.OwnerAuth)
	return endorsement{key: key, kind: kind.name}, err
}
