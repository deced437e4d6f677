package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // the CA's bytes
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// enclave is a quoting enclave whose key is vouched for: certificates up to a root, the PCK's signature
// over the enclave's report, and the report's word for the attestation key. It is immutable and shared
// between verifications; validity and revocation are not part of it, because time passes.
type enclave struct {
	// key signs quotes.
	key *ecdsa.PublicKey
	// leaf is the PCK certificate, pck what it says; ca issued it, and root the CA.
	leaf, ca, root *x509.Certificate
	pck            pcs.PCK
	leafDigest     [sha256.Size]byte
	// insecure says that root was loaded by hand.
	insecure bool
}

// platformCA is Intel's certificate for the CA over platforms, as every published quote of TDX carries
// it. It is not trusted for its bytes: New verifies it below the root, so that no quote has to.
//
//go:embed platform_ca.der
var platformCA []byte

const wantChain = "PCK, CA and Intel's pinned root"

// enclaveSteps are the checks of an enclave in their order, as they read when they pass.
var enclaveSteps = []struct {
	check     attestd.CheckID
	got, want string
}{
	{checkKey, wantKey, wantKey},
	{checkChainForm, "three certificates in PEM", wantChainForm},
	{checkChain, wantChain, wantChain},
	{checkPCKProfile, "a PCK", "a PCK with Intel's extension"},
	{checkChainValidity, "all three valid", "valid at the given time"},
	{checkQESignature, "the PCK's signature", "the PCK's signature"},
	{checkQEBinding, "the hash of the attestation key", "the hash of the attestation key"},
}

// findEnclave returns the enclave behind the quote, from the cache where its bytes were seen before.
func (v *Verifier) findEnclave(
	t *trail.Trail, q *quote, at time.Time, count *counter,
) (*enclave, *fault) {
	digest := sha256.Sum256(q.enclave)
	found, known := v.enclaves.Get(digest)
	var bad *fault
	if known {
		bad = found.checkValidity(at)
	} else if found, bad = v.judgeEnclave(q, at, count); bad == nil {
		v.enclaves.Add(digest, found)
	}
	for _, step := range enclaveSteps {
		if bad != nil && step.check == bad.check {
			return nil, bad
		}
		if step.check == checkChain && found != nil && found.insecure {
			t.Pass(checkChain, "PCK, CA and a root that was loaded by hand", wantChain)
			continue
		}
		t.Pass(step.check, step.got, step.want)
	}
	return found, bad
}

// judgeEnclave makes every check of an enclave that was not seen before.
func (v *Verifier) judgeEnclave(q *quote, at time.Time, count *counter) (*enclave, *fault) {
	// An attestation key off the curve, or at infinity, would have signatures that anybody can make.
	attestation, err := publicKey(q.key)
	if err != nil {
		return nil, refuse(checkKey, "not a point of P-256", wantKey).because(err)
	}
	certificates, bad := readChain(q.chain)
	if bad != nil {
		return nil, bad
	}
	out, bad := v.issued(certificates, count)
	if bad != nil {
		return nil, bad
	}
	if bad := out.checkValidity(at); bad != nil {
		return out, bad
	}
	key, _ := out.leaf.PublicKey.(*ecdsa.PublicKey)
	if !count.take() {
		return out, spent(checkQESignature)
	}
	if !signed(key, q.qeReport, q.qeSignature) {
		return out, refuse(checkQESignature, "a report that the PCK did not sign", "the PCK's signature")
	}
	if bad := q.checkBinding(); bad != nil {
		return out, bad
	}
	out.key = attestation
	return out, nil
}

// checkBinding demands that the enclave's REPORTDATA is SHA-256 of attestation key and authentication
// data, and zeros behind it. Without it, any enclave's report would vouch for any key.
func (q *quote) checkBinding() *fault {
	hash := sha256.New()
	hash.Write(q.key)
	hash.Write(q.qeAuth)
	var want [64]byte
	hash.Sum(want[:0])
	data := q.qeReport[offQEReportData:]
	switch {
	case !bytes.Equal(data[:sha256.Size], want[:sha256.Size]):
		return refuse(checkQEBinding, "the hash of something else", "the hash of the attestation key")
	case !allZero(data[sha256.Size:]):
		return refuse(checkQEBinding, "bytes behind the hash that are not zero", "32 zeros behind the hash")
	}
	return nil
}

const wantChainForm = "PCK, its CA and the root, in PEM as Intel writes it"

// chainNames are the certificates of a quote in their order.
var chainNames = [3]string{"PCK certificate", "CA", "root"}

// readChain reads the PEM text of exactly three certificates in the one spelling that Intel's library
// writes: lines of 64 characters that end in a line feed, with nothing between, before or behind, save
// the one zero that ends a text in C. The text is part of no signature: another spelling would make
// another digest of one statement, and show other readers other certificates.
func readChain(text []byte) (out [3]*x509.Certificate, bad *fault) {
	wrong := func(got string) ([3]*x509.Certificate, *fault) {
		return [3]*x509.Certificate{}, refuse(checkChainForm, got, wantChainForm)
	}
	if len(text) > limits.chain {
		return out, refuseAs(checkChainForm, attestd.ClassTooLarge,
			fmt.Sprintf("certificates of %d bytes", len(text)), fmt.Sprintf("at most %d", limits.chain))
	}
	rest := text
	if last := len(rest) - 1; last >= 0 && rest[last] == 0 {
		rest = rest[:last]
	}
	var written bytes.Buffer
	written.Grow(len(rest))
	for i, name := range chainNames {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			return wrong(fmt.Sprintf("%d certificates", i))
		}
		if len(block.Bytes) > limits.certificate {
			return out, refuseAs(checkChainForm, attestd.ClassTooLarge,
				fmt.Sprintf("a %s of %d bytes", name, len(block.Bytes)),
				fmt.Sprintf("at most %d", limits.certificate))
		}
		if err := pem.Encode(&written, block); err != nil {
			return wrong(fmt.Sprintf("a %s that cannot be written", name))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return out, refuse(checkChainForm, fmt.Sprintf("a %s that is no certificate", name),
				wantChainForm).because(err)
		}
		out[i], rest = cert, after
	}
	if block, _ := pem.Decode(rest); block != nil {
		return wrong("more than three certificates")
	}
	if text = bytes.TrimSuffix(text, []byte{0}); !bytes.Equal(written.Bytes(), text) {
		return wrong("certificates in another spelling of PEM")
	}
	return out, nil
}

// issued shows that the certificates are a PCK's, one of Intel's CAs over PCKs and a root that is known,
// each signed by the next. The root is known by its bytes: a certificate that merely carries Intel's
// name is anybody's.
func (v *Verifier) issued(certificates [3]*x509.Certificate, count *counter) (*enclave, *fault) {
	out := &enclave{leaf: certificates[0], ca: certificates[1], root: certificates[2]}
	at := -1
	for i, root := range v.roots {
		if root.Equal(out.root) {
			at = i
		}
	}
	if at < 0 {
		return nil, refuse(checkChain, fmt.Sprintf("a root called %q that is not pinned",
			attestd.Excerpt(out.root.Subject.CommonName, 40)), wantChain)
	}
	out.root, out.insecure = v.roots[at], at > 0
	if v.platform.Equal(out.ca) && !out.insecure {
		out.ca = v.platform
	} else {
		if !count.take() {
			return nil, spent(checkChain)
		}
		if err := pcs.CheckCA(out.ca, out.root); err != nil {
			return nil, refuse(checkChain, "a CA that the root does not stand over", wantChain).because(err)
		}
	}
	if !bytes.Equal(out.leaf.RawIssuer, out.ca.RawSubject) {
		return nil, refuse(checkChain, fmt.Sprintf("a PCK certificate issued by %q",
			attestd.Excerpt(out.leaf.Issuer.CommonName, 40)), "issued by the CA behind it")
	}
	if !count.take() {
		return nil, spent(checkChain)
	}
	if out.leaf.SignatureAlgorithm != x509.ECDSAWithSHA256 || out.ca.CheckSignature(
		x509.ECDSAWithSHA256, out.leaf.RawTBSCertificate, out.leaf.Signature) != nil {
		return nil, refuse(checkChain,
			"a PCK certificate that "+out.ca.Subject.CommonName+" did not sign", wantChain)
	}
	var err error
	if out.pck, err = pcs.ReadPCK(out.leaf); err != nil {
		return out, refuse(checkPCKProfile, "a certificate that is none",
			"a PCK with Intel's extension").because(err)
	}
	out.leafDigest = sha256.Sum256(out.leaf.Raw)
	return out, nil
}

// checkValidity demands that all three certificates are valid at the time. The root's time counts too:
// it is the last word on how long Intel stands behind the key.
func (e *enclave) checkValidity(at time.Time) *fault {
	for i, cert := range [...]*x509.Certificate{e.leaf, e.ca, e.root} {
		if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
			return refuse(checkChainValidity, chainNames[i]+" valid from "+
				cert.NotBefore.UTC().Format(time.RFC3339)+" to "+cert.NotAfter.UTC().Format(time.RFC3339),
				"valid at "+at.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// platformSHA256 is the digest of platformCA.
const platformSHA256 = "22eb770dca215b607b5ccfc21a672b1da5cc660b1ad0365020567979edcaa0e1"

// openPlatformCA returns the certificate of the CA over platforms after showing that root signed it.
func openPlatformCA(root *x509.Certificate, count *counter) (*x509.Certificate, error) {
	digest := sha256.Sum256(platformCA)
	if hex.EncodeToString(digest[:]) != platformSHA256 {
		return nil, errors.New("its digest is not the pinned one")
	}
	ca, err := x509.ParseCertificate(bytes.Clone(platformCA))
	if err != nil {
		return nil, err
	}
	count.take()
	return ca, pcs.CheckCA(ca, root)
}
