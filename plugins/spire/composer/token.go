package composer

import (
	"math"
	"regexp"
	"slices"

	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Bounds of what attestd says, beyond which it is not attestd that says it.
const (
	maxClaims = 32
	maxText   = 1024
	// SPIRE writes integers from 10^6 on in scientific notation (all but exp and iat at the top).
	maxInteger   = 1_000_000
	maxExtension = 8 << 10
	maxDepth     = 3
)

// registered are claims that say what the token is (RFC 7519, section 4.1): SPIRE sets them.
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// own are the claims that only attestd may set, whether or not it does so this time: one that is there
// before would otherwise be believed where attestd says nothing.
var own = []string{
	"attested", "risk_score", "risk_tier", "ear_status", "attested_at", "tee", "tenant", "key_grade",
	"measurement", "cnf", "attestd_degraded",
}

// token is what SPIRE would sign.
type token struct {
	claims   *structpb.Struct
	audience []string
	expires  int64
}

// readToken takes SPIRE's claims apart. A problem refuses: what cannot be read cannot be granted.
func readToken(id string, claims *structpb.Struct) (token, string) {
	fields := claims.GetFields()
	if fields["sub"].GetStringValue() != id || id == "" {
		return token{}, "SPIRE's claim sub is not the SPIFFE ID that it asks for"
	}
	out := token{claims: proto.CloneOf(claims)}
	exp, ok := fields["exp"].GetKind().(*structpb.Value_NumberValue)
	// Exact in a float64, and after 2001.
	if !ok || exp.NumberValue != math.Trunc(exp.NumberValue) || exp.NumberValue < 1e9 || exp.NumberValue > 1e11 {
		return token{}, "SPIRE's claim exp is not a time"
	}
	out.expires = int64(exp.NumberValue)
	switch audience := fields["aud"].GetKind().(type) {
	case *structpb.Value_StringValue:
		out.audience = []string{audience.StringValue}
	case *structpb.Value_ListValue:
		for _, one := range audience.ListValue.GetValues() {
			text, ok := one.GetKind().(*structpb.Value_StringValue)
			if !ok {
				return token{}, "SPIRE's claim aud is not a list of text"
			}
			out.audience = append(out.audience, text.StringValue)
		}
	}
	if len(out.audience) == 0 || slices.Contains(out.audience, "") {
		return token{}, "SPIRE's claim aud is empty"
	}
	for _, name := range own {
		if _, there := fields[name]; there {
			return token{}, "another composer has set the claim " + name + ", which only attestd may; " +
				"have it set others: behind attestd's it would go unnoticed"
		}
	}
	return out, ""
}

// apply adds what was granted.
func (t *token) apply(granted wire.Granted) string {
	// Whatever attestd answers, the end only comes nearer. One that is missing is not "any".
	if granted.ExpiresAt <= 0 {
		return "attestd's grant names no end"
	}
	if granted.ExpiresAt < t.expires {
		t.claims.Fields["exp"] = structpb.NewNumberValue(float64(granted.ExpiresAt))
	}
	if len(granted.Claims) == 0 || len(granted.Claims) > maxClaims {
		return "attestd's grant has no claims, or too many"
	}
	for name, value := range granted.Claims {
		shown := attestd.Excerpt(name, 40)
		if _, there := t.claims.Fields[name]; there {
			return "the claim " + shown + " is set already, and attestd sets it"
		}
		if slices.Contains(registered, name) {
			return "attestd's grant names the claim " + shown + ", which is SPIRE's"
		}
		claim, ok := claimOf(value, 0)
		if !ok {
			return "attestd's grant has a claim that a token must not have: " + shown
		}
		t.claims.Fields[name] = claim
	}
	return ""
}

// claimOf is a value that comes out of SPIRE as it went in.
func claimOf(value any, depth int) (*structpb.Value, bool) {
	switch value := value.(type) {
	case bool:
		return structpb.NewBoolValue(value), true
	case string:
		return structpb.NewStringValue(value), len(value) <= maxText
	case float64:
		return structpb.NewNumberValue(value), value == math.Trunc(value) && math.Abs(value) < maxInteger
	case map[string]any:
		object := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(value))}
		for name, inner := range value {
			claim, ok := claimOf(inner, depth+1)
			if !ok || depth == maxDepth || len(value) > maxClaims {
				return nil, false
			}
			object.Fields[name] = claim
		}
		return structpb.NewStructValue(object), true
	default:
		return nil, false
	}
}

// oidForm is a dotted OID as SPIRE reads it.
var oidForm = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]{0,8})){1,20}$`)

// extend adds attestd's extension, never a critical one: relying parties that do not know it would
// refuse the certificate (RFC 5280, section 4.2).
func extend(attributes *composerv1.X509SVIDAttributes, granted wire.Granted) string {
	if granted.ExtensionOID == "" && len(granted.Extension) == 0 {
		return "" // relying parties take its absence for the worst (plugins/spire/svidext)
	}
	if !oidForm.MatchString(granted.ExtensionOID) || len(granted.Extension) == 0 ||
		len(granted.Extension) > maxExtension {
		return "attestd's grant has an extension that is none"
	}
	for _, one := range attributes.GetExtraExtensions() {
		if one.GetOid() == granted.ExtensionOID {
			return "another composer has set the extension " + granted.ExtensionOID + ", which only attestd may; " +
				"have it set others: behind attestd's it would go unnoticed"
		}
	}
	attributes.ExtraExtensions = append(attributes.ExtraExtensions, &composerv1.X509Extension{
		Oid: granted.ExtensionOID, Value: granted.Extension,
	})
	return ""
}
