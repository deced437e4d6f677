package collateral_test

import (
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

// santaClara is a test authority shaped like Intel's, and otherIntel an impostor.
var (
	santaClara = sync.OnceValues(func() (*forge.Intel, error) { return forge.NewIntel(forge.IntelConfig{}) })
	otherIntel = sync.OnceValues(func() (*forge.Intel, error) { return forge.NewIntel(forge.IntelConfig{}) })
)

func intelOf(t testing.TB, of func() (*forge.Intel, error)) *forge.Intel {
	t.Helper()
	made, err := of()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// newIntelScene is a store that believes the test authority, at a time when its documents are current.
func newIntelScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.now, s.only = forge.IntelTime, intelOf(t, santaClara).Root
	s.store = s.open()
	return s
}

// info and identity make documents of a number that were issued some hours after IntelTime's day began.
func (s *scene) info(number int, hours int) []byte {
	s.Helper()
	config := forge.NewTCBInfoConfig()
	config.Evaluation = number
	config.Issued, config.Next = issued(hours)
	document, err := intelOf(s, santaClara).TCBInfo(config)
	if err != nil {
		s.Fatal(err)
	}
	return document
}

func (s *scene) identity(number int, hours int) []byte {
	s.Helper()
	config := forge.NewIdentityConfig()
	config.Evaluation = number
	config.Issued, config.Next = issued(hours)
	document, err := intelOf(s, santaClara).Identity(config)
	if err != nil {
		s.Fatal(err)
	}
	return document
}

func issued(hours int) (from, until time.Time) {
	from = forge.IntelTime.Add(time.Duration(hours-24) * time.Hour)
	return from, from.AddDate(0, 0, 30)
}

// signer is the certificate that documents are judged by.
func (s *scene) signer() []byte { return intelOf(s, santaClara).Signing.Raw }

func (s *scene) tdx(store *collateral.Store) (documents [][]byte, floors []attestd.DocumentFloor) {
	of := store.Sets()[attestd.FormatTDX]
	return of.Documents, of.DocumentFloors
}
