package controller

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// emptyName is the DER of a subject without a name.
var emptyName = []byte{0x30, 0x00}

// maxCSR bounds a certificate request; one over RSA-4096 has about 1,100 bytes.
const maxCSR = 4096

// refuse says what must not be minted.
func refuse(format string, args ...any) error {
	return &attestd.CallerError{Class: attestd.ClassPolicyDeny, Err: fmt.Errorf(format, args...),
		Hint: "an SVID is minted for an id below " + MintPrefix + " and for 1 to 300 seconds"}
}

// mintable reads an id that may be minted.
func (c *controller) mintable(text string) (*types.SPIFFEID, error) {
	id, err := c.spire.identity(text)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(id.GetPath(), MintPrefix) {
		return nil, refuse("%q does not lie below %s", attestd.Excerpt(text, 80), MintPrefix)
	}
	return id, nil
}

func mintTTL(seconds int) (int32, error) {
	if seconds < 1 || seconds > MaxMintSeconds {
		return 0, refuse("got a lifetime of %d s", seconds)
	}
	return int32(seconds), nil
}

// mintX509 lets SPIRE certify the key of a certificate request. Whether the key is in evidence
// attestd decided; what the request may say is looked at here and by SPIRE's policy.
func (c *controller) mintX509(ctx context.Context, in wire.MintX509) (wire.MintedX509, error) {
	ttl, err := mintTTL(in.TTLSeconds)
	if err != nil {
		return wire.MintedX509{}, err
	}
	id, err := c.requested(in.CSR)
	if err != nil {
		return wire.MintedX509{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := c.spire.svids.MintX509SVID(ctx, &svidv1.MintX509SVIDRequest{Csr: in.CSR, Ttl: ttl})
	if err != nil {
		return wire.MintedX509{}, spireError(err)
	}
	svid := reply.GetSvid()
	if textOf(svid.GetId()) != id || len(svid.GetCertChain()) == 0 {
		return wire.MintedX509{}, spireError(errors.New("SPIRE minted for another id than was asked for"))
	}
	bundle, err := c.spire.bundles.GetBundle(ctx, &bundlev1.GetBundleRequest{
		OutputMask: &types.BundleMask{X509Authorities: true},
	})
	if err != nil {
		return wire.MintedX509{}, spireError(err)
	}
	out := wire.MintedX509{
		ID: id, Certificates: svid.GetCertChain(), ExpiresAt: svid.GetExpiresAt(), Roots: [][]byte{},
	}
	for _, root := range bundle.GetX509Authorities() {
		out.Roots = append(out.Roots, root.GetAsn1())
	}
	return out, nil
}

// requested returns the SPIFFE ID that a certificate request names. SPIRE copies the subject and the
// DNS names of a request into the certificate (SPIRE 1.15.3, pkg/server/api/svid/v1, MintX509SVID), and
// they would be names that no evidence speaks for.
func (c *controller) requested(der []byte) (string, error) {
	if len(der) > maxCSR {
		return "", refuse("the certificate request has %d bytes, want at most %d", len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return "", refuse("the certificate request cannot be read: %s", attestd.Excerpt(err.Error(), 120))
	}
	switch {
	case csr.CheckSignature() != nil:
		return "", refuse("the certificate request is not signed by its key")
	case !bytes.Equal(csr.RawSubject, emptyName):
		return "", refuse("the certificate request has a subject")
	case len(csr.DNSNames)+len(csr.EmailAddresses)+len(csr.IPAddresses) != 0:
		return "", refuse("the certificate request has names beside its SPIFFE ID")
	case len(csr.URIs) != 1:
		return "", refuse("the certificate request has %d URIs, want 1", len(csr.URIs))
	}
	id, err := spiffeid.FromURI(csr.URIs[0])
	if err != nil {
		return "", refuse("the URI of the certificate request is no SPIFFE ID")
	}
	if _, err := c.mintable(id.String()); err != nil {
		return "", err
	}
	return id.String(), nil
}

// mintJWT lets SPIRE sign a JWT-SVID.
func (c *controller) mintJWT(ctx context.Context, in wire.MintJWT) (wire.MintedJWT, error) {
	ttl, err := mintTTL(in.TTLSeconds)
	if err != nil {
		return wire.MintedJWT{}, err
	}
	id, err := c.mintable(in.ID)
	if err != nil {
		return wire.MintedJWT{}, err
	}
	if len(in.Audience) == 0 || len(in.Audience) > 16 {
		return wire.MintedJWT{}, refuse("got %d audiences, want 1 to 16", len(in.Audience))
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := c.spire.svids.MintJWTSVID(ctx,
		&svidv1.MintJWTSVIDRequest{Id: id, Audience: in.Audience, Ttl: ttl})
	if err != nil {
		return wire.MintedJWT{}, spireError(err)
	}
	svid := reply.GetSvid()
	if textOf(svid.GetId()) != in.ID || svid.GetToken() == "" {
		return wire.MintedJWT{}, spireError(errors.New("SPIRE minted for another id than was asked for"))
	}
	return wire.MintedJWT{Token: svid.GetToken(), ExpiresAt: svid.GetExpiresAt()}, nil
}
