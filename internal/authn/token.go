package authn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/internal/subject"
)

// maxToken is the longest token that is looked at.
const maxToken = 8 << 10

// maxLife is how long a token may still be good. JWT-SVIDs are for minutes (JWT-SVID section 3.3: "SVID
// lifetimes should be as short as possible"); one that is good for days is a mistake of who issues it.
const maxLife = 24 * time.Hour

var tokenLimits = strict.JSONLimits{Bytes: maxToken, Depth: 8}

// fault is why nobody is identified. Its words never quote the token.
type fault struct {
	code   decision.Code
	detail string
	// forged says that the signature is not the key's: nothing mends that.
	forged bool
}

func (f *fault) who() decision.Who {
	return decision.Who{Fault: f.code, FaultDetail: attestd.Excerpt(f.detail, 160)}
}

func unknown(format string, args ...any) *fault {
	return &fault{code: decision.CodeUnauthenticated, detail: fmt.Sprintf(format, args...)}
}

// header are the members that a JWT-SVID's may have, and no others (JWT-SVID section 2): what names a
// key to fetch, or encloses one, is refused and nothing is fetched.
type header struct {
	Algorithm string  `json:"alg"`
	KeyID     string  `json:"kid"`
	Type      *string `json:"typ"`
}

// token is a JWT-SVID that was read and not verified.
type token struct {
	header    header
	id        spiffeid.ID
	audience  []string
	expires   time.Time
	issued    time.Time
	notBefore time.Time
}

// readToken reads a token as one spelling alone: three parts of base64url without padding, and JSON
// without doubles.
func readToken(text string) (*token, *fault) {
	if len(text) > maxToken {
		return nil, unknown("a token of %d bytes, want at most %d", len(text), maxToken)
	}
	parts := strings.SplitN(text, ".", 4)
	if len(parts) != 3 {
		return nil, unknown("a token that has not three parts: it is no signed JWT")
	}
	var raw [3][]byte
	for i, part := range parts {
		decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(decoded) == 0 || strings.ContainsAny(part, "\r\n") {
			return nil, unknown("part %d of the token is not base64url in its one form", i+1)
		}
		raw[i] = decoded
	}
	out := &token{}
	if err := strict.DecodeJSON(raw[0], tokenLimits, &out.header); err != nil {
		return nil, unknown("the header has members besides alg, kid and typ, or is no JSON")
	}
	if out.header.Type != nil && *out.header.Type != "JWT" && *out.header.Type != "JOSE" {
		return nil, unknown("typ is neither JWT nor JOSE")
	}
	if out.header.KeyID == "" || out.header.Algorithm == "" {
		return nil, unknown("the header names no key, or no algorithm")
	}
	if err := out.claims(raw[1]); err != nil {
		return nil, unknown("%s", err.Error())
	}
	return out, nil
}

func (t *token) claims(document []byte) error {
	claims := map[string]json.RawMessage{}
	if err := strict.DecodeJSON(document, tokenLimits, &claims); err != nil {
		return errors.New("the claims are no JSON in its one form")
	}
	var sub string
	if err := json.Unmarshal(claims["sub"], &sub); err != nil {
		return errors.New("there is no sub")
	}
	id, err := spiffeid.FromString(sub)
	if err != nil || id.Path() == "" {
		return errors.New("sub is no SPIFFE ID of a workload")
	}
	t.id = id
	if t.audience, err = audienceOf(claims["aud"]); err != nil {
		return err
	}
	if t.expires, err = instant(claims, "exp"); err != nil {
		return err
	}
	if t.expires.IsZero() {
		return errors.New("there is no exp")
	}
	if t.issued, err = instant(claims, "iat"); err != nil {
		return err
	}
	t.notBefore, err = instant(claims, "nbf")
	return err
}

// audienceOf reads aud, a text or a list of texts (RFC 7519, section 4.1.3).
func audienceOf(raw json.RawMessage) ([]string, error) {
	var one string
	var list []string
	if err := json.Unmarshal(raw, &one); err == nil {
		list = []string{one}
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("there is no aud")
	}
	if len(list) == 0 || len(list) > 16 || slices.Contains(list, "") {
		return nil, errors.New("aud names nobody, or too many")
	}
	return list, nil
}

// instant reads a NumericDate of whole seconds. SPIRE writes numbers that went through its composers as
// 1.79e+09, which is a whole number as well.
func instant(claims map[string]json.RawMessage, name string) (time.Time, error) {
	raw, found := claims[name]
	if !found {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds != math.Trunc(seconds) || seconds <= 0 || seconds > 253402300799 {
		return time.Time{}, fmt.Errorf("%s is no whole number of seconds", name)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// verify checks everything about a token that was read, with the bundle of its own trust domain.
func (t *token) verify(text string, with *kept, audiences []string, leeway time.Duration, at time.Time) *fault {
	key, found := with.jwt[t.header.KeyID]
	switch {
	case !found:
		return unknown("the bundle of %s has no key of the token's kid", with.domain)
	case !key.allows(t.header.Algorithm):
		return unknown("alg is not one of the key's")
	}
	for _, one := range t.audience {
		// A token that is for others as well can be shown here by any of them.
		if !slices.Contains(audiences, one) {
			return unknown("the token is for somebody else as well, or alone")
		}
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.header.Algorithm)})
	if err != nil {
		return unknown("the token is no JWS in compact form")
	}
	if _, err := signed.Verify(key.key); err != nil {
		return &fault{code: decision.CodeUnauthenticated, detail: "the signature is not the key's", forged: true}
	}
	switch {
	case !at.Before(t.expires):
		return &fault{code: decision.CodeExpired, detail: "the token ended at " + t.expires.Format(time.RFC3339)}
	case t.expires.Sub(at) > maxLife:
		return unknown("the token is good for more than %s", maxLife)
	case t.notBefore.After(at.Add(leeway)):
		return &fault{code: decision.CodeExpired, detail: "the token begins at " + t.notBefore.Format(time.RFC3339)}
	case t.issued.After(at.Add(leeway)):
		return unknown("the token was issued in the future")
	}
	return nil
}

func (t *token) who(at time.Time, digest string) decision.Who {
	return decision.Who{
		ID: subject.ID(t.id.String()), TrustDomain: t.id.TrustDomain().Name(), Method: decision.MethodJWT,
		Audience: t.audience, IssuedAt: t.issued, Expires: t.expires, Credential: digest, VerifiedAt: at,
	}
}
