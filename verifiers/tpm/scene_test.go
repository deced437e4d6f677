package tpm_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

// world is made once: keys of RSA take a while.
type world struct {
	ca, other *forge.TPMCA
	keys      map[string]*forge.TPMKey
}

var shared = sync.OnceValues(func() (*world, error) {
	w := &world{keys: map[string]*forge.TPMKey{}}
	var err error
	if w.ca, err = forge.NewTPMCA(forge.TPMCAConfig{}); err != nil {
		return nil, err
	}
	if w.other, err = forge.NewTPMCA(forge.TPMCAConfig{}); err != nil {
		return nil, err
	}
	for name, config := range map[string]forge.TPMKeyConfig{
		"ECDSA P-256": {}, "another AK": {},
		"ECDSA P-384": {Curve: elliptic.P384(), Hash: reference.TPMAlgSHA384,
			NameAlg: reference.TPMAlgSHA384},
		"ECDSA P-384 SHA-256": {Curve: elliptic.P384()},
		"RSASSA":              {Scheme: reference.TPMAlgRSASSA},
		"RSAPSS":              {Scheme: reference.TPMAlgRSAPSS, Hash: reference.TPMAlgSHA512},
		"RSA EK":              {Endorsement: true, Bits: 2048},
		"ECC EK":              {Endorsement: true},
		"agent":               {Ordinary: true},
		"another agent":       {Ordinary: true},
	} {
		if w.keys[name], err = forge.NewTPMKey(config); err != nil {
			return nil, err
		}
	}
	return w, nil
})

func theWorld(t testing.TB) *world {
	t.Helper()
	w, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newVerifier(t testing.TB) *tpm.Verifier {
	t.Helper()
	v, err := tpm.New(tpm.Config{InsecureRoots: []*x509.Certificate{theWorld(t).ca.Root}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// nonce is what every scene is asked with.
var nonce = []byte("0123456789abcdef0123456789abcdef")

// scene is forged evidence in the making; a row of a test changes it before it is built.
type scene struct {
	t       testing.TB
	world   *world
	machine *forge.TPM
	// edit changes the quote before it is signed, quote and signature after.
	edit             func(*reference.TPMSAttest, *reference.TPMSQuoteInfo)
	quote, signature func([]byte) []byte
	// key is certified where it is set; editKey changes the certification, certified what is sent.
	key       *forge.TPMKey
	editKey   func(*reference.TPMSAttest, *reference.TPMSCertifyInfo)
	certified func(*tpmevidence.Key)
	// parts changes what is sent.
	parts func(*tpmevidence.Evidence)
	input attestd.Input
}

// newScene is a machine whose attestation key was activated under an endorsement key with a
// certificate.
func newScene(t testing.TB, ak, ek string) *scene {
	t.Helper()
	w := theWorld(t)
	s := &scene{t: t, world: w, machine: forge.NewTPM(w.keys[ak], w.keys[ek]),
		quote: same, signature: same, parts: func(*tpmevidence.Evidence) {},
		certified: func(*tpmevidence.Key) {},
		input:     attestd.Input{At: forge.TPMTime, Demand: attestd.Recorded()}}
	if ek != "" {
		s.activate(w.keys[ak], w.keys[ek])
	}
	return s
}

// boots gives the machine the PCRs of a synthetic boot, and its evidence the log.
func (s *scene) boots(options forge.BootOptions) *forge.Boot {
	boot := forge.NewBoot(options)
	values := map[uint8][]byte{}
	for index, value := range boot.Registers(forge.LogSHA256) {
		if value != nil {
			values[uint8(index)] = value
		}
	}
	s.machine.PCRs = []forge.TPMBank{{Algorithm: reference.TPMAlgSHA256, Values: values}}
	before := s.parts
	s.parts = func(e *tpmevidence.Evidence) {
		before(e)
		e.EventLog = boot.Log()
	}
	return boot
}

func same(data []byte) []byte { return data }

// activate says that the endorsement key's TPM answered a credential for the attestation key.
func (s *scene) activate(ak, ek *forge.TPMKey) {
	secret := []byte("a secret of thirty-two bytes 123")
	s.input.Anchors.Activation = &attestd.Activation{
		AKName: ak.Name, EK: spki(s.t, ek), Secret: sha256.Sum256(secret), Answer: secret,
	}
}

// name makes the operator name the key in place of an activation.
func (s *scene) name(ak *forge.TPMKey) {
	s.input.Anchors.Activation = nil
	s.input.Anchors.AttestationKeys = [][32]byte{spki(s.t, ak)}
}

func spki(t testing.TB, key *forge.TPMKey) [32]byte {
	t.Helper()
	der, err := key.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(der)
}

func der(t testing.TB, key *forge.TPMKey) []byte {
	t.Helper()
	out, err := key.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ekCertificate issues a certificate for a key.
func ekCertificate(
	t testing.TB, ca *forge.TPMCA, key crypto.PublicKey, config forge.EKCertificateConfig,
) []byte {
	t.Helper()
	out, err := ca.EKCertificate(key, config)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *scene) evidence() tpmevidence.Evidence {
	s.t.Helper()
	out, err := s.machine.Evidence(nonce, s.edit)
	if err != nil {
		s.t.Fatal(err)
	}
	out.Quote, out.QuoteSignature = s.quote(slices.Clone(out.Quote)), s.signature(out.QuoteSignature)
	if s.machine.EK != nil {
		out.EKCertificate = ekCertificate(s.t, s.world.ca, s.machine.EK.Signer.Public(),
			forge.EKCertificateConfig{})
		out.Intermediates = s.world.ca.Bundle()
	}
	if s.key != nil {
		if out.Key, err = s.machine.Certify(s.key, nonce, s.editKey); err != nil {
			s.t.Fatal(err)
		}
		s.certified(out.Key)
	}
	s.parts(&out)
	return out
}

func (s *scene) build() attestd.Input {
	s.t.Helper()
	parts := s.evidence()
	data, err := parts.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	input := s.input
	input.Evidence = data
	return input
}

// fresh demands the scene's nonce.
func (s *scene) fresh() { s.input.Demand = fresh(s.t, nonce) }

func fresh(t testing.TB, nonce []byte) attestd.Demand {
	t.Helper()
	demand, err := attestd.Fresh(nonce)
	if err != nil {
		t.Fatal(err)
	}
	return demand
}

func good(t testing.TB, v *tpm.Verifier, input attestd.Input) *attestd.Claims {
	t.Helper()
	claims, err := v.Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// refused fails unless the answer is a rejection by the check, of the class.
func refused(
	t testing.TB, v *tpm.Verifier, input attestd.Input, check attestd.CheckID, class attestd.Class,
) {
	t.Helper()
	claims, err := v.Verify(input)
	var rejected *attestd.EvidenceError
	switch {
	case claims != nil:
		t.Errorf("accepted, want %s", check)
	case !errors.As(err, &rejected):
		t.Errorf("got %v, want a rejection by %s", err, check)
	case rejected.Check != check || rejected.Class != class:
		t.Errorf("got %s of class %s (%v), want %s of class %s", rejected.Check, rejected.Class, err,
			check, class)
	}
}

func fact(t testing.TB, claims *attestd.Claims, name string) string {
	t.Helper()
	value, ok := claims.Fact(name)
	if !ok {
		return "(absent)"
	}
	return value.String()
}
