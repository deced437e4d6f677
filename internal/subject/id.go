package subject

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/attestd/attestd"
)

// ID is the SPIFFE ID of a subject.
type ID string

// SPIFFE-ID sections 2.1 to 2.3: a trust domain of lower-case letters, digits, dots, dashes and
// underscores, a path of segments of letters, digits, dots, dashes and underscores, none empty and
// none "." or "..", at most 2,048 bytes in all.
var (
	idForm      = regexp.MustCompile(`^spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]+)+$`)
	segmentForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)
)

const maxID = 2048

// ParseID reads a SPIFFE ID with a path, in its one form: nothing is decoded, folded or cut.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func ParseID(text string) (ID, error) {
	bad := len(text) > maxID || !idForm.MatchString(text)
	for _, segment := range strings.Split(text, "/") {
		bad = bad || segment == "." || segment == ".."
	}
	if bad {
		return "", &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "give it as in spiffe://example.org/agent/web-1 (SPIFFE-ID, section 2)",
			Err:   fmt.Errorf("%q is no SPIFFE ID", attestd.Excerpt(text, 80)),
		}
	}
	return ID(text), nil
}

// Fold returns the form under which ids are kept apart: two that differ in case alone are one subject
// here, so that no other spelling escapes a hold.
func (id ID) Fold() string { return strings.ToLower(string(id)) }

// Key returns the key under which the id is barred.
func (id ID) Key() Key { return Key{Kind: string(BarSubject), Value: id.Fold()} }

// Schemes begin instance values whose rest stands for them in a name.
var Schemes = [...]string{"ek:", "azure:"}

// AgentID returns the id of the node that an instance handle names.
//
// Errors: where there is no instance: identity never comes from a host or a boot.
func AgentID(trustDomain string, format attestd.Format, instance attestd.Handle) (ID, error) {
	if instance.Kind != attestd.HandleInstance || instance.Value == "" {
		return "", fmt.Errorf("no instance handle, got kind %q", instance.Kind)
	}
	segment := instance.Value
	// An endorsement key's digest and a cloud's id stand for themselves: they are what people type. No
	// two instances of a format meet here: the one is 64 hex digits, the other a UUID.
	for _, scheme := range Schemes {
		if rest, found := strings.CutPrefix(segment, scheme); found {
			segment = rest
		}
	}
	if !segmentForm.MatchString(segment) {
		digest := sha256.Sum256([]byte(segment))
		segment = hex.EncodeToString(digest[:])
	}
	return ParseID("spiffe://" + trustDomain + "/spire/agent/attestd/" + string(format) + "/" + segment)
}
