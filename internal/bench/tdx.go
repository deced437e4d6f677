package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-tdx-guest/pcs"
	"github.com/google/go-tdx-guest/verify"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

// Bars of a quote of a machine that is known, under documents and lists that are known.
const (
	maxTDXOverP256    = 3
	maxTDXAllocations = 85
	// listedPCKs is how many PCKs Intel's list of platforms names.
	listedPCKs = 70
)

// platforms are quotes of test machines and what is published about all of them.
type platforms struct {
	authority *forge.Intel
	// quotes are of one machine each.
	quotes [][]byte
	// given are the documents and lists, tcbInfo and the others its parts.
	given                                attestd.Endorsements
	tcbInfo, identity, rootList, pckList []byte
}

func newPlatforms(count int) (*platforms, error) {
	authority, err := forge.NewIntel(forge.IntelConfig{})
	if err != nil {
		return nil, err
	}
	out := &platforms{authority: authority}
	for range count {
		config := forge.NewPCKConfig()
		config.Edit = func(c *x509.Certificate) { c.SubjectKeyId = []byte("as Intel's have one") }
		pck, err := authority.IssuePCK(config)
		if err != nil {
			return nil, err
		}
		quote, err := forge.NewTDQuote(5).Sign(pck)
		if err != nil {
			return nil, err
		}
		out.quotes = append(out.quotes, quote)
	}
	serials := make([]int64, listedPCKs)
	for i := range serials {
		serials[i] = int64(1_000_000 + i)
	}
	var errs [4]error
	out.tcbInfo, errs[0] = authority.TCBInfo(forge.NewTCBInfoConfig())
	out.identity, errs[1] = authority.Identity(forge.NewIdentityConfig())
	out.rootList, errs[2] = authority.CRL(forge.IntelCRLConfig{CA: forge.IntelRootCA})
	out.pckList, errs[3] = authority.CRL(forge.IntelCRLConfig{CA: forge.IntelPlatformCA, Serials: serials})
	out.given = attestd.Endorsements{
		Certificates: [][]byte{authority.Signing.Raw}, CRLs: [][]byte{out.rootList, out.pckList},
		Documents: [][]byte{out.tcbInfo, out.identity},
	}
	return out, errors.Join(errs[:]...)
}

func (p *platforms) input(quote []byte) attestd.Input {
	return attestd.Input{
		Evidence: quote, Endorsements: p.given, At: forge.IntelTime, Demand: attestd.Recorded(),
	}
}

// Get answers go-tdx-guest out of memory, so that what is compared is what it computes.
func (p *platforms) Get(address string) (map[string][]string, []byte, error) {
	root := p.authority.Root.Raw
	for _, one := range []struct {
		part, header string
		leaf, body   []byte
	}{
		{"/pckcrl?", pcs.SgxPckCrlIssuerChainPhrase, p.authority.Platform.Raw, p.pckList},
		{"/tcb?", pcs.TcbInfoIssuerChainPhrase, p.authority.Signing.Raw, p.tcbInfo},
		{"/qe/identity", pcs.SgxQeIdentityIssuerChainPhrase, p.authority.Signing.Raw, p.identity},
		{"IntelSGXRootCA.der", "", root, p.rootList},
	} {
		if strings.Contains(address, one.part) {
			chain := url.QueryEscape(string(forge.PEMChain(one.leaf, root)))
			return map[string][]string{one.header: {chain}}, bytes.Clone(one.body), nil
		}
	}
	return nil, nil, fmt.Errorf("the comparison fetches nothing: %s", address)
}

// peer is go-tdx-guest with collateral and revocation lists, with fresh options for every call since
// it writes to them.
func (p *platforms) peer(quote []byte) error {
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.Root)
	at := forge.IntelTime
	return verify.RawTdxQuote(quote, &verify.Options{
		GetCollateral: true, CheckRevocations: true, Getter: p, TrustedRoots: roots,
		Now: &verify.TimeSet{PckCertChain: at, TcbInfo: at, QeIdentity: at, PckCrl: at, RootCaCrl: at},
	})
}

// oneP256 is one verification by crypto/ecdsa, the floor of a quote.
func oneP256() (func(int) error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("the floor"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	return func(int) error {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			return errors.New("the floor does not verify")
		}
		return nil
	}, err
}

// upToDate demands what makes the comparison one of like with like: documents and lists counted.
func upToDate(claims *attestd.Claims) error {
	for name, want := range map[string]string{
		"tcb_status": "UpToDate", "collateral": "fresh", "crl": "fresh",
	} {
		if fact, _ := claims.Fact(name); fact.String() != want {
			return fmt.Errorf("fact %s is %s, want %s", name, fact, want)
		}
	}
	return nil
}

// tdxFigures compares with go-tdx-guest, which verifies documents and lists again with every quote.
func tdxFigures(opts options) ([]Figure, error) {
	machines, err := newPlatforms(opts.rounds + 1)
	if err != nil {
		return nil, err
	}
	verifier, err := tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{machines.authority.Root}})
	if err != nil {
		return nil, err
	}
	ours := func(input attestd.Input) error { _, err := verifier.Verify(input); return err }
	known := machines.input(machines.quotes[0])
	claims, err := verifier.Verify(known)
	if err == nil {
		err = upToDate(claims)
	}
	if err != nil {
		return nil, err
	}
	floor, err := oneP256()
	if err != nil {
		return nil, err
	}
	before := verifier.SignaturesVerified()
	warm, err := alternate(opts.rounds, func(int) error { return ours(known) },
		func(int) error { return machines.peer(machines.quotes[0]) }, floor)
	if err != nil {
		return nil, err
	}
	warmSignatures := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)
	allocations := testing.AllocsPerRun(50, func() { _ = ours(known) })

	before = verifier.SignaturesVerified()
	fresh, err := alternate(opts.rounds,
		func(round int) error { return ours(machines.input(machines.quotes[round+1])) },
		func(round int) error { return machines.peer(machines.quotes[round+1]) })
	if err != nil {
		return nil, err
	}
	freshSignatures := float64(verifier.SignaturesVerified()-before) / float64(opts.rounds)
	more, err := severalFigures(opts, machines, verifier)
	if err != nil {
		return nil, err
	}
	return append([]Figure{
		atLeast("tdx: known enclave, against go-tdx-guest with collateral and CRLs", warm[1]/warm[0],
			"x faster", 10, 5),
		atLeast("tdx: new machine, against go-tdx-guest with collateral and CRLs", fresh[1]/fresh[0],
			"x faster", 4, 5),
		atMost("tdx: known enclave, against one P-256 verification", warm[0]/warm[2], "of its time",
			maxTDXOverP256, 5),
		atMost("tdx: known enclave, time", warm[0], "us", 300, 5),
		atMost("tdx: signatures verified, known enclave", warmSignatures, "per quote", 1, 1),
		// PCK, enclave, quote, and the CA over the PCK, which is compiled in for Intel's own platforms alone.
		atMost("tdx: signatures verified, new machine", freshSignatures, "per quote", 4, 1),
		atMost("tdx: allocations, known enclave", allocations, "per quote", maxTDXAllocations, 1),
	}, more...), nil
}

// otherFMSPCs is how many kinds of platforms Intel publishes TCB information for.
const otherFMSPCs = 60

// severalFigures measures a quote beside the documents of all kinds of platforms, as they come out of
// a folder of collateral, and a hostile one.
func severalFigures(opts options, machines *platforms, verifier *tdx.Verifier) ([]Figure, error) {
	known := machines.input(machines.quotes[0])
	many := known
	many.Endorsements.Documents = append([][]byte(nil), machines.given.Documents...)
	for i := range otherFMSPCs {
		config := forge.NewTCBInfoConfig()
		config.FMSPC = [6]byte{byte(i), 0xff}
		document, err := machines.authority.TCBInfo(config)
		if err != nil {
			return nil, err
		}
		many.Endorsements.Documents = append(many.Endorsements.Documents, document)
	}
	hostile := known
	hostile.Evidence = bytes.Clone(machines.quotes[0])
	hostile.Evidence[100] ^= 1 // of MRSEAM, which is signed
	floor, err := oneP256()
	if err != nil {
		return nil, err
	}
	refused := func(int) error {
		var rejected *attestd.EvidenceError
		if _, err := verifier.Verify(hostile); !errors.As(err, &rejected) {
			return fmt.Errorf("changed quote: %v, want a rejection", err)
		}
		return nil
	}
	times, err := alternate(opts.rounds,
		func(int) error { _, err := verifier.Verify(many); return err },
		func(int) error { _, err := verifier.Verify(known); return err }, refused, floor)
	if err != nil {
		return nil, err
	}
	return []Figure{
		atMost(fmt.Sprintf("tdx: known enclave beside %d documents of others, against one P-256 verification",
			otherFMSPCs), times[0]/times[3], "of its time", maxTDXOverP256, 5),
		atMost("tdx: changed quote, against an honest one", times[2]/times[1], "of its time", 1, 2),
	}, nil
}

// tdxQuestion is a quote of a machine that the daemon does not know.
func tdxQuestion(opts options) (question, error) {
	machines, err := newPlatforms(1)
	if err != nil {
		return question{}, err
	}
	knowing, err := tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{machines.authority.Root}})
	if err != nil {
		return question{}, err
	}
	stranger, err := tdx.New(tdx.Config{})
	if err != nil {
		return question{}, err
	}
	known := machines.input(machines.quotes[0])
	medians, err := alternate(opts.rounds, func(int) error {
		_, err := knowing.Verify(known)
		return err
	})
	if err != nil {
		return question{}, err
	}
	known.Endorsements = attestd.Endorsements{}
	return question{verifier: stranger, input: known, rejected: true, honest: medians[0]}, nil
}
