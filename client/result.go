package client

import (
	"context"
	"encoding/base64"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/attestd/attestd/client/ear"
)

// ResultWish says what a result is to be like. The zero ResultWish wishes nothing.
type ResultWish struct {
	// Audience is whom it is for; empty for whoever trusts the verifier.
	Audience string
	// Nonce of 8 to 64 bytes that it shows; empty for none.
	Nonce []byte
	// Profile by name; empty for the server's own.
	Profile string
}

// maxToken is the longest result that is taken, in bytes.
const maxToken = 64 << 10

// Result has the server sign a result about a verdict that it kept. It asks anew whether the machine is
// held.
//
// Errors: an [*Error]: of class QUARANTINED or REVOKED_SUBJECT for what is held, of class STALE for a
// verdict that is too old, with status 404 where there is none with that id.
func (c *Client) Result(ctx context.Context, appraisalID string, wish ResultWish) (string, error) {
	query := url.Values{}
	if wish.Audience != "" {
		query.Set("audience", wish.Audience)
	}
	if wish.Profile != "" {
		query.Set("profile", wish.Profile)
	}
	if len(wish.Nonce) != 0 {
		query.Set("nonce", base64.RawURLEncoding.EncodeToString(wish.Nonce))
	}
	got, err := c.get(ctx, "/v1/appraisals/"+url.PathEscape(appraisalID)+"/ear", query)
	if err != nil {
		return "", err
	}
	if got.status != http.StatusOK {
		return "", c.refused(got)
	}
	media, _, _ := mime.ParseMediaType(got.header.Get("Content-Type"))
	token := string(got.body)
	if media != "application/eat+jwt" || len(token) > maxToken || strings.Count(token, ".") != 2 ||
		strings.ContainsAny(token, " \r\n") {
		return "", c.noAttestd(got.status, "an answer that is no result")
	}
	return token, nil
}

// ResultKeys returns the keys that results are verified with. A server that can be reached at a name
// only is as good as the way to it: ask over TLS, or pin what was asked. They may be kept for 5 minutes.
//
// Errors: an [*Error], or one of class MALFORMED about a set that cannot be used.
func (c *Client) ResultKeys(ctx context.Context) (*ear.KeySet, error) {
	got, err := c.get(ctx, "/.well-known/jwks.json", nil)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, c.refused(got)
	}
	return ear.ParseKeySet(got.body)
}
