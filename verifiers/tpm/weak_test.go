package tpm_test

import (
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestKeysWhosePrivateHalfCanBeComputed: of CVE-2017-15361, whichever of the keys it is. The key that
// was certified is the one that is worth most, and lives in the same faulty chip.
//
// neg: 78
func TestKeysWhosePrivateHalfCanBeComputed(t *testing.T) {
	weak, err := forge.WeakRSAKey()
	if err != nil {
		t.Fatal(err)
	}
	made := func(config forge.TPMKeyConfig) *forge.TPMKey {
		config.Signer = weak
		key, err := forge.NewTPMKey(config)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	v := newVerifier(t)
	w := theWorld(t)
	listed := func(s *scene) {
		s.input.Anchors.EndorsementKeys = [][32]byte{spki(t, s.machine.EK)}
		s.parts = func(e *tpmevidence.Evidence) { e.EKCertificate, e.Intermediates = nil, nil }
	}
	for name, change := range map[string]func(*scene){
		"the attestation key": func(s *scene) {
			s.machine = forge.NewTPM(made(forge.TPMKeyConfig{Scheme: reference.TPMAlgRSASSA}), w.keys["ECC EK"])
		},
		"the endorsement key, with its certificate": func(s *scene) {
			s.machine.EK = made(forge.TPMKeyConfig{Endorsement: true, Bits: 2048})
		},
		"the endorsement key, from the inventory": func(s *scene) {
			s.machine.EK = made(forge.TPMKeyConfig{Endorsement: true, Bits: 2048})
			listed(s)
		},
		"the endorsement key, by its certificate alone": func(s *scene) {
			s.machine.EK = made(forge.TPMKeyConfig{Endorsement: true, Bits: 2048})
			s.parts = func(e *tpmevidence.Evidence) { e.EKPublic = nil }
		},
		"the certified key": func(s *scene) {
			s.key = made(forge.TPMKeyConfig{Ordinary: true, Scheme: reference.TPMAlgRSASSA})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "ECDSA P-256", "ECC EK")
			change(s)
			s.activate(s.machine.AK, s.machine.EK)
			if got := fact(t, good(t, v, s.build()), "firmware_vulnerable"); got != "true" {
				t.Errorf("firmware_vulnerable is %s", got)
			}
		})
	}
}

// TestFirmwareBehindAnOffsetIsNotCalledGood: in the owner hierarchy the version is hidden, and whoever
// is root chooses the hierarchy.
//
// neg: 78
func TestFirmwareBehindAnOffsetIsNotCalledGood(t *testing.T) {
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{Hierarchy: reference.TPMRHOwner})
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.machine = forge.NewTPM(ak, s.machine.EK)
	s.activate(ak, s.machine.EK)
	if got := fact(t, good(t, newVerifier(t), s.build()), "firmware_vulnerable"); got != "not visible" {
		t.Errorf("firmware_vulnerable of a maker with faulty versions is %s", got)
	}
	// What is known of the key itself does not depend on the hierarchy, nor does a maker of whom
	// nothing is known.
	s.name(ak)
	if got := fact(t, good(t, newVerifier(t), s.build()), "firmware_vulnerable"); got != "false" {
		t.Errorf("firmware_vulnerable of an unknown maker is %s", got)
	}
}
