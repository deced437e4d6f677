package svid

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd/internal/spire/wire"
)

// clockSlack is by how much SPIRE's clock and ours may differ.
const clockSlack = 30 * time.Second

// confirmation are the claims that name the holder's key (RFC 7800, section 3.2); none for an
// X509-SVID, which is over it.
func (w *wanted) confirmation() (map[string]any, error) {
	if len(w.audience) == 0 {
		return nil, nil
	}
	document, err := json.Marshal(jose.JSONWebKey{Key: w.key})
	if err != nil {
		return nil, fmt.Errorf("the key as a JWK: %w", err)
	}
	var key map[string]any
	if err := json.Unmarshal(document, &key); err != nil {
		return nil, fmt.Errorf("the key as a JWK: %w", err)
	}
	return map[string]any{"cnf": map[string]any{"jwk": key}}, nil
}

// mint has SPIRE mint, and looks at what it minted: the controller is another process, and SPIRE
// another program.
func (d *Desk) mint(
	ctx context.Context, id string, what wanted, lifetime time.Duration,
) (Document, error) {
	seconds := int(lifetime / time.Second)
	document := Document{Schema: Schema, SPIFFEID: id}
	if len(what.audience) != 0 {
		minted, err := d.config.Controller.MintJWT(ctx, wire.MintJWT{
			ID: id, Audience: what.audience, TTLSeconds: seconds,
		})
		if err != nil {
			return Document{}, err
		}
		document.Token = minted.Token
		document.ExpiresAt, err = what.checkToken(id, minted.Token, d.config.Now().Add(lifetime))
		return document, err
	}
	minted, err := d.config.Controller.MintX509(ctx, wire.MintX509{
		CSR: what.csr, TTLSeconds: seconds,
	})
	if err != nil {
		return Document{}, err
	}
	document.Certificates, document.Roots = minted.Certificates, minted.Roots
	document.ExpiresAt, err = what.checkChain(id, minted, d.config.Now().Add(lifetime))
	return document, err
}

// checkChain checks that the leaf is over the key and for the id alone, and ends in time.
func (w *wanted) checkChain(id string, minted wire.MintedX509, ends time.Time) (time.Time, error) {
	if len(minted.Certificates) == 0 || len(minted.Roots) == 0 {
		return time.Time{}, errors.New("no chain or no roots")
	}
	leaf, err := x509.ParseCertificate(minted.Certificates[0])
	if err != nil {
		return time.Time{}, fmt.Errorf("the certificate: %w", err)
	}
	switch {
	case !bytes.Equal(leaf.RawSubjectPublicKeyInfo, w.spki):
		return time.Time{}, errors.New("the certificate is over another key")
	case leaf.IsCA || len(leaf.URIs) != 1 || leaf.URIs[0].String() != id || len(leaf.DNSNames) != 0:
		return time.Time{}, errors.New("the certificate is for something else")
	case leaf.NotAfter.After(ends.Add(clockSlack)):
		return time.Time{}, fmt.Errorf("the certificate ends at %s",
			leaf.NotAfter.Format(time.RFC3339))
	}
	return leaf.NotAfter.UTC(), nil
}

// audiences is one text or a list of them (RFC 7519, section 4.1.3).
type audiences []string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *audiences) UnmarshalJSON(document []byte) error {
	if len(document) != 0 && document[0] == '"' {
		*a = make(audiences, 1)
		return json.Unmarshal(document, &(*a)[0])
	}
	return json.Unmarshal(document, (*[]string)(a))
}

// checkToken checks that the token is for the id, the audience and the key, and ends in time. Its
// signature is SPIRE's, from which it comes: relying parties check it.
func (w *wanted) checkToken(id, token string, ends time.Time) (time.Time, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, errors.New("the token is no JWS")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, fmt.Errorf("the token's payload: %w", err)
	}
	var said struct {
		Subject      string         `json:"sub"`
		Audience     audiences      `json:"aud"`
		Ends         float64        `json:"exp"`
		Confirmation map[string]any `json:"cnf"`
	}
	if err := json.Unmarshal(payload, &said); err != nil {
		return time.Time{}, fmt.Errorf("the token's claims: %w", err)
	}
	claims, err := w.confirmation()
	if err != nil {
		return time.Time{}, err
	}
	expires := time.Unix(int64(said.Ends), 0).UTC()
	slices.Sort(said.Audience)
	switch {
	case said.Subject != id:
		return time.Time{}, errors.New("the token is for another id")
	case !slices.Equal(said.Audience, slices.Sorted(slices.Values(w.audience))):
		return time.Time{}, errors.New("the token is for another audience")
	case !reflect.DeepEqual(said.Confirmation, claims["cnf"]):
		return time.Time{}, errors.New("the token does not name the key")
	case said.Ends <= 0 || expires.After(ends.Add(clockSlack)):
		return time.Time{}, fmt.Errorf("the token ends at %s", expires.Format(time.RFC3339))
	}
	return expires, nil
}
