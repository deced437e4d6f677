package keymanager

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// socketKeys is the ring as the node's other plugins see it.
type socketKeys struct{ *ring }

var _ keysocket.Keys = socketKeys{}

// Newest returns the key that was made last.
func (s socketKeys) Newest(context.Context) (keysocket.Key, error) {
	all, err := s.all()
	if err != nil {
		return keysocket.Key{}, err
	}
	var newest *key
	for _, one := range all {
		if newest == nil || one.Generation > newest.Generation {
			newest = one
		}
	}
	if newest == nil {
		return keysocket.Key{}, fmt.Errorf("%w: the agent has generated none yet", keysocket.ErrNoKey)
	}
	found := keysocket.Key{
		SPKI: bytes.Clone(newest.SPKI), Kind: s.maker.kind(), Generation: newest.Generation,
	}
	if newest.TPMName != "" {
		found.TPMName, found.TPMState = newest.TPMName, s.stateDir
	}
	return found, nil
}

// Sign signs with the key of this public key, be it the newest or the one before, which the agent
// uses until it has an identity for the newest.
func (s socketKeys) Sign(
	ctx context.Context, spki, digest []byte, opts crypto.SignerOpts,
) ([]byte, error) {
	all, err := s.all()
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if !bytes.Equal(one.SPKI, spki) {
			continue
		}
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", keysocket.ErrBusy, ctx.Err())
		}
		return s.sign(ctx, &s.others, one, digest, opts)
	}
	return nil, fmt.Errorf("%w: none has this public key", keysocket.ErrNoKey)
}

// PutEnlist takes the place of what was enlisted before.
func (s socketKeys) PutEnlist(_ context.Context, enlist wire.Enlist) error {
	if err := s.sameBoot(); err != nil {
		return err
	}
	s.change.Lock()
	defer s.change.Unlock()
	if err := s.checkEnlist(enlist); err != nil {
		return err
	}
	if err := s.keep(s.keys, s.generation, &enlist); err != nil {
		return err
	}
	s.setEnlist(&enlist)
	return nil
}

// Enlist returns what is enlisted.
func (s socketKeys) Enlist(context.Context) (wire.Enlist, string, <-chan struct{}, error) {
	if err := s.sameBoot(); err != nil {
		return wire.Enlist{}, "", nil, err
	}
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	if s.enlist == nil {
		return wire.Enlist{}, "", s.changed, nil
	}
	return *s.enlist, s.revision, s.changed, nil
}

// Limits of an enlistment.
const (
	maxCertificates = 8
	maxAddresses    = 16
)

// checkEnlist refuses what a client of attestd's could do nothing with, or something else than it
// was meant for. Whether attestd wrote it shows when it is used: attestd knows its own
// certificates.
func (r *ring) checkEnlist(enlist wire.Enlist) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: enlistment: "+format, append([]any{keysocket.ErrRefused}, args...)...)
	}
	switch prefix := "spiffe://" + r.trustDomain + "/"; {
	case len(enlist.Certificates) == 0 || len(enlist.Certificates) > maxCertificates:
		return refuse("%d certificates, want 1 to %d", len(enlist.Certificates), maxCertificates)
	case len(enlist.Addresses) == 0 || len(enlist.Addresses) > maxAddresses:
		return refuse("%d addresses, want 1 to %d", len(enlist.Addresses), maxAddresses)
	case len(enlist.SnapshotKey) != ed25519.PublicKeySize:
		return refuse("the snapshot key has %d bytes, want %d", len(enlist.SnapshotKey),
			ed25519.PublicKeySize)
	case !strings.HasPrefix(enlist.AgentID, prefix):
		return refuse("the agent id is %q, want one below %s",
			attestd.Excerpt(enlist.AgentID, 100), prefix)
	}
	for _, one := range append([][]byte{enlist.CA}, enlist.Certificates...) {
		if _, err := x509.ParseCertificate(one); err != nil {
			return refuse("a certificate: %w", err)
		}
	}
	if !holds(r.keys, enlist) {
		return refuse("its certificate is over a key that is not held here (any more)")
	}
	return nil
}

// holds reports whether one of the keys is the certificate's.
func holds(keys map[string]*key, enlist wire.Enlist) bool {
	leaf, err := x509.ParseCertificate(enlist.Certificates[0])
	if err != nil {
		return false
	}
	for _, one := range keys {
		if bytes.Equal(one.SPKI, leaf.RawSubjectPublicKeyInfo) {
			return true
		}
	}
	return false
}
