package enrol

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Kinds of keys that can be owned, beside those of handles.
const (
	KindInstance    = string(attestd.HandleInstance)
	KindHost        = string(attestd.HandleHost)
	KindAWSInstance = "aws-instance" // id of an EC2 instance: the machine itself, or an enclave's parent
	KindAWSRole     = "aws-role"     // PCR3 of an enclave: the IAM role of its parent instance
	KindAWSPCR4     = "aws-pcr4"     // PCR4 of an enclave: its parent instance's id
	KindGCEProject  = "gce-project"  // project of a Google Cloud instance
)

// forms are the values that each kind takes, in their one spelling.
var forms = map[string]*regexp.Regexp{
	KindInstance:    subject.HardwareForm(subject.BarInstance),
	KindHost:        subject.HardwareForm(subject.BarHost),
	KindAWSInstance: regexp.MustCompile(`^i-[0-9a-f]{8,17}$`),
	KindAWSRole:     regexp.MustCompile(`^[0-9a-f]{96}$`),
	KindAWSPCR4:     regexp.MustCompile(`^[0-9a-f]{96}$`),
	// Ids of projects, and the older ones behind a domain ("example.com:web").
	KindGCEProject: regexp.MustCompile(`^(?:[a-z0-9.-]{1,60}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`),
}

// Kinds lists the kinds of keys that can be owned.
func Kinds() []string {
	return []string{KindInstance, KindHost, KindAWSInstance, KindAWSRole, KindAWSPCR4, KindGCEProject}
}

// Shared reports whether many machines, and perhaps those of several tenants, have the same key.
func Shared(kind string) bool {
	return kind == KindHost || kind == KindAWSRole || kind == KindGCEProject
}

// ParseKey reads "kind:value" in its one spelling.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func ParseKey(text string) (subject.Key, error) {
	kind, value, _ := strings.Cut(text, ":")
	key := subject.Key{Kind: kind, Value: value}
	if problem := checkKey(key); problem != "" {
		return subject.Key{}, malformed("as in instance:ek:9c41.. (64 digits); kinds: "+
			strings.Join(Kinds(), ", "), "%s", problem)
	}
	return key, nil
}

// checkKey says what is wrong with a key; nothing is "".
func checkKey(key subject.Key) string {
	form, known := forms[key.Kind]
	switch {
	case !known:
		return fmt.Sprintf("%q is no kind of key", attestd.Excerpt(key.Kind, 40))
	case !form.MatchString(key.Value):
		return fmt.Sprintf("%q is no value of kind %s", attestd.Excerpt(key.Value, 80), key.Kind)
	case subject.AllZero(key.Value):
		// Zero is what an absent or masked field holds: owning it would be owning everybody's.
		return fmt.Sprintf("the value of kind %s is all zero, which names nothing", key.Kind)
	}
	return ""
}

// Keys lists the names under which the machine of a verdict can be owned, its instance first. Each of
// them stands in verified evidence; a verdict without any has none. A key that its own evidence
// contradicts is left out.
func Keys(verdict attestd.Appraisal) []subject.Key {
	if !verified(verdict) {
		return nil
	}
	var keys []subject.Key
	add := func(kind, value string) {
		key := subject.Key{Kind: kind, Value: value}
		if checkKey(key) == "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, kind := range []attestd.HandleKind{attestd.HandleInstance, attestd.HandleHost} {
		for _, handle := range verdict.Handles {
			if handle.Kind != kind {
				continue
			}
			add(string(kind), subject.FoldHardware(subject.BarKind(kind), handle.Value))
		}
	}
	addFacts(add, verdict.Format, verdict.Claims)
	// What a device shows of its owner is the machine's only where the devices hang together: otherwise
	// anybody's TPM would make a stranger's processor its owner's.
	if weakest, composed := verdict.WeakestEdge(); composed && weakest >= attestd.GradeSimultaneous {
		for i := range verdict.Devices {
			addFacts(add, verdict.Devices[i].Format, verdict.Devices[i].Claims)
		}
	}
	return keys
}

// addFacts adds the names that facts of a format give the machine.
func addFacts(add func(kind, value string), format attestd.Format, view []byte) {
	claims := factsOf(view)
	switch format {
	case attestd.FormatNitro:
		instance, pcr4 := claims.text("instance_id"), claims.text("pcr4")
		if instance != "" && (pcr4 == "" || pcr4 == PCROf(instance)) {
			add(KindAWSInstance, instance)
		}
		add(KindAWSRole, claims.text("pcr3"))
		add(KindAWSPCR4, pcr4)
	case attestd.FormatNitroTPM:
		// PCR 3 and 4 of a NitroTPM are firmware and boot manager: they name nobody.
		add(KindAWSInstance, claims.text("instance_id"))
	case attestd.FormatTPM:
		add(KindGCEProject, claims.text("gce_project"))
	}
}

// PCROf returns the PCR3 of a role's ARN or the PCR4 of an instance's id, in hex: SHA-384 over 48 zero
// bytes and the text (AWS Nitro Enclaves User Guide, Where to get an enclave's measurements).
func PCROf(text string) string {
	digest := sha512.Sum384(append(make([]byte, 48), text...))
	return hex.EncodeToString(digest[:])
}

// Listed reports whether the operator's list of endorsement keys named the machine, as the verifier
// of the evidence stated it.
func Listed(verdict attestd.Appraisal) bool {
	return verified(verdict) &&
		factsOf(verdict.Claims).text("ownership") == string(subject.MethodInventory)
}

func verified(verdict attestd.Appraisal) bool {
	view := bytes.TrimSpace(verdict.Claims)
	return len(view) > 0 && !bytes.Equal(view, []byte("null"))
}

// facts are claims by name. A fact that is not visible is null.
type facts map[string]json.RawMessage

func factsOf(view []byte) facts {
	var read facts
	if err := json.Unmarshal(view, &read); err != nil {
		return nil
	}
	return read
}

// text returns a fact of kind text or bytes; every other, and none, is "".
func (f facts) text(name string) string {
	var text string
	if err := json.Unmarshal(f[name], &text); err != nil {
		return ""
	}
	return text
}

func malformed(hint, format string, args ...any) error {
	return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: fmt.Errorf(format, args...)}
}
