package interop

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-tdx-guest/pcs"
	"github.com/google/go-tdx-guest/verify"
)

// collateral is what a question about a TD quote is asked with; both sides get the same bytes.
type collateral struct {
	// tcbInfo and identity are as Intel's service answers them, signer the certificate of the key that
	// signed both, issuer the CA of the list of PCKs. Empty for none.
	tcbInfo, identity, signer, issuer, root []byte
	rootList, pckList                       []byte
}

// memoryPCS answers go-tdx-guest's requests out of memory: it must not have a network.
type memoryPCS struct{ have collateral }

func (m memoryPCS) Get(address string) (map[string][]string, []byte, error) {
	answer := func(header string, leaf, body []byte) (map[string][]string, []byte, error) {
		if len(body) == 0 {
			return nil, nil, errors.New("the comparison has no such document")
		}
		chain := url.QueryEscape(string(certificatePEM(leaf)) + string(certificatePEM(m.have.root)))
		return map[string][]string{header: {chain}}, bytes.Clone(body), nil
	}
	switch {
	case strings.Contains(address, "/pckcrl?"):
		return answer(pcs.SgxPckCrlIssuerChainPhrase, m.have.issuer, m.have.pckList)
	case strings.Contains(address, "/tcb?"):
		return answer(pcs.TcbInfoIssuerChainPhrase, m.have.signer, m.have.tcbInfo)
	case strings.Contains(address, "/qe/identity"):
		return answer(pcs.SgxQeIdentityIssuerChainPhrase, m.have.signer, m.have.identity)
	case strings.HasSuffix(address, "IntelSGXRootCA.der"):
		return answer("", m.have.root, m.have.rootList)
	}
	return nil, nil, fmt.Errorf("the comparison fetches nothing: %s", address)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// errTooLong is the answer of a reference that gave none in time.
var errTooLong = errors.New("no answer within twenty seconds")

// askGoTDXGuest asks google/go-tdx-guest with fresh options and bytes: it writes to its options, and
// it panics on lengths that lie. Without roots it is asked by Intel's own, which is compiled in.
func askGoTDXGuest(quote []byte, have collateral, at time.Time, root *x509.Certificate) error {
	options := &verify.Options{
		GetCollateral: len(have.tcbInfo) > 0, CheckRevocations: len(have.rootList) > 0,
		Getter: memoryPCS{have},
		Now: &verify.TimeSet{
			PckCertChain: at, TcbInfo: at, QeIdentity: at, PckCrl: at, RootCaCrl: at,
		},
	}
	if root != nil {
		options.TrustedRoots = x509.NewCertPool()
		options.TrustedRoots.AddCert(root)
	}
	answered := make(chan error, 1)
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				answered <- fmt.Errorf("panic: %v", cause)
			}
		}()
		answered <- verify.RawTdxQuote(bytes.Clone(quote), options)
	}()
	// Long against the two milliseconds that it takes, since other work shares the machine.
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	select {
	case err := <-answered:
		return err
	case <-timeout.C:
		return errTooLong
	}
}
