package collateral_test

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

// Authorities take seconds to make: the process has one of each.
var (
	milan    = authority("Milan", false)
	genoa    = authority("Genoa", false)
	turin    = authority("Turin", false)
	impostor = authority("Milan", true)
)

func authority(line string, other bool) func() (*forge.AMD, error) {
	return sync.OnceValues(func() (*forge.AMD, error) {
		return forge.NewAMD(forge.AMDConfig{Line: line, Impostor: other})
	})
}

func made(t testing.TB, of func() (*forge.AMD, error)) *forge.AMD {
	t.Helper()
	amd, err := of()
	if err != nil {
		t.Fatal(err)
	}
	return amd
}

// scene is a store in a folder of its own, at a time that can be moved.
type scene struct {
	*testing.T
	store  *collateral.Store
	folder string
	now    time.Time
	mu     sync.Mutex
	// only is the one root by hand where there is one; else there are those of the test authorities.
	only *x509.Certificate
	// beside is a root by hand beside those.
	beside []*x509.Certificate
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, now: forge.AMDTime, folder: filepath.Join(t.TempDir(), "collateral")}
	s.store = s.open()
	return s
}

func (s *scene) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *scene) roots() []*x509.Certificate {
	if s.only != nil {
		return []*x509.Certificate{s.only}
	}
	return append([]*x509.Certificate{made(s, milan).ARK, made(s, genoa).ARK, made(s, turin).ARK}, s.beside...)
}

// open opens the folder once more, as another process would.
func (s *scene) open() *collateral.Store {
	s.Helper()
	store, err := collateral.Open(s.folder, s.clock, s.roots()...)
	if err != nil {
		s.Fatal(err)
	}
	return store
}

func (s *scene) crl(amd *forge.AMD, config forge.AMDCRLConfig) []byte {
	s.Helper()
	der, err := amd.CRL(config)
	if err != nil {
		s.Fatal(err)
	}
	return der
}

func (s *scene) vcek(amd *forge.AMD, report forge.SNPReport) []byte {
	s.Helper()
	key, err := amd.IssueVCEK(report.VCEKConfig(amd.Line))
	if err != nil {
		s.Fatal(err)
	}
	return key.DER
}

func (s *scene) take(objects ...[]byte) []collateral.Item {
	s.Helper()
	items, err := s.store.Import(s.Context(), objects, "test")
	if err != nil {
		s.Fatal(err)
	}
	return items
}

// refuse wants an import refused as invalid, with words, and nothing changed by it.
func (s *scene) refuse(words string, objects ...[]byte) {
	s.Helper()
	before := s.setsOf(s.store)
	_, err := s.store.Import(s.Context(), objects, "test")
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassCollateralInvalid || caller.Hint == "" {
		s.Fatalf("got %v, want it refused as COLLATERAL_INVALID with a hint", err)
	}
	if !strings.Contains(err.Error(), words) {
		s.Errorf("got %q, want it to say %q", err, words)
	}
	if after := s.setsOf(s.open()); after != before {
		s.Errorf("the refused import changed what is given out: %q, before %q", after, before)
	}
}

// setsOf is everything that a store gives to judges, as text.
func (s *scene) setsOf(store *collateral.Store) string {
	s.Helper()
	var text strings.Builder
	sets := store.Sets()
	for _, format := range []attestd.Format{attestd.FormatSEVSNP, attestd.FormatTPM} {
		document, err := sets[format].Marshal()
		if err != nil {
			s.Fatal(err)
		}
		text.WriteString(string(format) + string(document))
	}
	return text.String()
}

func (s *scene) lists(store *collateral.Store) [][]byte {
	return store.Sets()[attestd.FormatSEVSNP].CRLs
}
