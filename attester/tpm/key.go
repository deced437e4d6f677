package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
)

// Key is a signing key that never leaves its TPM, ECC P-256. It is a [crypto.Signer], so that it can
// be a TLS client's key. Its private part lies in a file as a blob that only this TPM can load.
type Key struct {
	device *Device
	public *ecdsa.PublicKey
	spki   []byte
	kept   keptKey
}

// keptKey is the file of a key.
type keptKey struct {
	Schema string `json:"schema"`
	// Parent is the Name of the storage key that the blob is wrapped under.
	Parent []byte `json:"parent"`
	// Public is TPMT_PUBLIC, Private the contents of TPM2B_PRIVATE.
	Public  []byte `json:"public"`
	Private []byte `json:"private"`
	// ResetCount is the TPM's reset count when the key was made.
	ResetCount uint32 `json:"reset_count"`
}

const (
	keySchema = "attestd.tpm-key.v1"
	maxKey    = 16 << 10
)

// storageHandle is where the storage root key persists, if the owner or the system made one (TCG TPM
// v2.0 Provisioning Guidance, version 1.0, section 7.8).
const storageHandle = 0x81000001

var keyName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// Key returns the key called name, from [Options.StateDir], and makes it where there is none, where the
// machine was started anew since, or where another TPM made it. A key is thus good for one boot: one
// that outlived a restart would let a machine go on under an identity that an earlier boot was judged
// for.
//
// Errors: where the file is there and is not a key; it is not replaced then. Where others can write to
// the folder.
func (d *Device) Key(ctx context.Context, name string) (key *Key, err error) {
	path, err := d.keyPath(name)
	if err != nil {
		return nil, err
	}
	err = d.with(ctx, func(c *connection) error {
		resets, parent, err := c.here(d.options)
		if err != nil {
			return err
		}
		kept, err := readKey(path)
		if err != nil {
			return err
		}
		if kept != nil && kept.ResetCount == resets && bytes.Equal(kept.Parent, parent.name.Buffer) {
			key, err = newKey(d, *kept)
			return err
		}
		made, err := c.createKey(parent)
		if err != nil {
			return err
		}
		made.ResetCount = resets
		if key, err = newKey(d, made); err != nil {
			return err
		}
		return writeKey(path, made)
	})
	return key, err
}

// demandClosed refuses a folder that others can write to: they could leave a key there that they have
// the blob of too, and the machine would be judged for it.
func demandClosed(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return refuse("make the state folder, writable for this user alone", fmt.Errorf("state folder: %w", err))
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return refuse("chmod 700 "+attestd.Excerpt(folder, 200),
			fmt.Errorf("state folder %q has mode %04o, want 0700", attestd.Excerpt(folder, 200), mode))
	}
	return nil
}

func newKey(d *Device, kept keptKey) (*Key, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](kept.Public)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if !matches(*public, keyTemplate()) {
		return nil, refuse("move the file away; another key is made then", errors.New(
			"the key's public area is not what this program makes"))
	}
	parsed, err := tpm2.Pub(*public)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	ecc, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key is a %T, want an ECC key", parsed)
	}
	spki, err := spkiOf(*public)
	return &Key{device: d, public: ecc, spki: spki, kept: kept}, err
}

// readKey returns nil where there is no file.
func readKey(path string) (*keptKey, error) {
	const hint = "move the file away; another key is made then"
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, refuse("make the state folder readable for this user", fmt.Errorf("key: %w", err))
	}
	defer file.Close()
	doc, err := io.ReadAll(io.LimitReader(file, maxKey))
	if err != nil {
		return nil, refuse(hint, fmt.Errorf("key %q: %w", attestd.Excerpt(path, 200), err))
	}
	var kept keptKey
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&kept); err != nil || kept.Schema != keySchema {
		return nil, refuse(hint, fmt.Errorf("key %q is not a document of schema %s",
			attestd.Excerpt(path, 200), keySchema))
	}
	return &kept, nil
}

// writeKey puts a whole file into place, so that a crash leaves no half of one.
func writeKey(path string, kept keptKey) error {
	doc, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("keep a key: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".tpmkey-*") // mode 0600
	if err != nil {
		return refuse("make the state folder, writable for this user alone", fmt.Errorf("keep a key: %w", err))
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.Write(append(doc, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return refuse("make room in the state folder", fmt.Errorf("keep a key: %w", err))
	}
	return nil
}

// storage returns the storage root key: the one that persists, or one made for this call.
func (c *connection) storage(o Options) (object, error) {
	found, _, err := c.read(storageHandle)
	switch {
	case errors.Is(err, errNoObject):
		made, err := c.create(tpm2.TPMRHOwner, o.OwnerAuth, tpm2.ECCSRKTemplate)
		if err != nil {
			return object{}, fmt.Errorf("storage root key: %w", err)
		}
		return made, nil
	case err != nil:
		return object{}, err
	}
	if has := found.public.ObjectAttributes; !has.Restricted || !has.Decrypt || !has.FixedTPM ||
		!has.FixedParent || !has.UserWithAuth {
		// A parent that can be duplicated would take the key along, and the TPM would refuse fixedTPM below
		// it with a code that says little.
		return object{}, foreign(storageHandle, "is not a storage root key")
	}
	return found, nil
}

func (c *connection) createKey(parent object) (keptKey, error) {
	answer, err := tpm2.Create{
		ParentHandle: parent.auth(), InPublic: tpm2.New2B(keyTemplate()),
	}.Execute(c)
	if err != nil {
		return keptKey{}, explain("create a key", err)
	}
	return keptKey{
		Schema: keySchema, Parent: bytes.Clone(parent.name.Buffer),
		Public: bytes.Clone(answer.OutPublic.Bytes()), Private: answer.OutPrivate.Buffer,
	}, nil
}

// load loads the key. The storage key goes first: a TPM has three places.
func (c *connection) load(k *Key, o Options) (object, error) {
	resets, parent, err := c.here(o)
	if err != nil {
		return object{}, err
	}
	if resets != k.kept.ResetCount {
		// The TPM itself would go on loading the blob: stClear keeps saved contexts from a later boot, and
		// not what lies below a storage key (TPM 2.0 Library, Part 2, revision 1.59, section 8.3.3).
		return object{}, fmt.Errorf("%w: it is of reset %d, and this is reset %d", ErrNoKey,
			k.kept.ResetCount, resets)
	}
	if !bytes.Equal(parent.name.Buffer, k.kept.Parent) {
		return object{}, refuse("make the key again", fmt.Errorf(
			"the key was made below storage key %s, and this TPM's is %s", shortHex(k.kept.Parent),
			shortHex(parent.name.Buffer)))
	}
	answer, err := tpm2.Load{
		ParentHandle: parent.auth(), InPrivate: tpm2.TPM2BPrivate{Buffer: k.kept.Private},
		InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](k.kept.Public),
	}.Execute(c)
	if err != nil {
		return object{}, explain("load a key", err)
	}
	if parent.handle != storageHandle {
		if err := c.flush(uint32(parent.handle)); err != nil {
			return object{}, explain("flush a key", err)
		}
	}
	return newObject(answer.ObjectHandle, answer.Name, tpm2.BytesAs2B[tpm2.TPMTPublic](k.kept.Public))
}

// certify has the attestation key state that the key is in this TPM (TPM2_Certify, Part 3, revision
// 1.59, section 18.2).
func (c *connection) certify(k *Key, ak object, freshness []byte, o Options) (*tpmevidence.Key, error) {
	key, err := c.load(k, o)
	if err != nil {
		return nil, err
	}
	answer, err := tpm2.Certify{
		ObjectHandle: key.auth(), SignHandle: ak.auth(),
		QualifyingData: tpm2.TPM2BData{Buffer: freshness},
		InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(c)
	if err != nil {
		return nil, explain("certify a key", err)
	}
	if err := c.flush(uint32(key.handle)); err != nil {
		return nil, explain("flush a key", err)
	}
	return &tpmevidence.Key{
		Public: bytes.Clone(k.kept.Public), Attest: bytes.Clone(answer.CertifyInfo.Bytes()),
		Signature: tpm2.Marshal(answer.Signature),
	}, nil
}

// Public returns the key's *ecdsa.PublicKey.
func (k *Key) Public() crypto.PublicKey {
	copied := *k.public
	return &copied
}

// SPKI returns the DER SubjectPublicKeyInfo.
func (k *Key) SPKI() []byte { return bytes.Clone(k.spki) }

// Sign implements [crypto.Signer]: an ECDSA signature in ASN.1 (RFC 3279 section 2.2.3) over a digest
// of SHA-256, SHA-384 or SHA-512. The TPM's own generator makes it; rand is not read.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) (signature []byte, err error) {
	hash := map[crypto.Hash]tpm2.TPMAlgID{
		crypto.SHA256: tpm2.TPMAlgSHA256, crypto.SHA384: tpm2.TPMAlgSHA384, crypto.SHA512: tpm2.TPMAlgSHA512,
	}[opts.HashFunc()]
	if hash == 0 || len(digest) != opts.HashFunc().Size() {
		return nil, fmt.Errorf("sign: got a digest of %d bytes by hash %d, want SHA-256, SHA-384 or SHA-512",
			len(digest), opts.HashFunc())
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.device.options.SignTimeout)
	defer cancel()
	err = k.device.with(ctx, func(c *connection) error {
		key, err := c.load(k, k.device.options)
		if err != nil {
			return err
		}
		answer, err := tpm2.Sign{
			KeyHandle: key.auth(), Digest: tpm2.TPM2BDigest{Buffer: digest},
			InScheme: tpm2.TPMTSigScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: hash}),
			},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(c)
		if err != nil {
			return explain("sign", err)
		}
		made, err := answer.Signature.Signature.ECDSA()
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		signature, err = asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(made.SignatureR.Buffer), new(big.Int).SetBytes(made.SignatureS.Buffer),
		})
		return err
	})
	return signature, err
}
