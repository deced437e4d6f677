package measurements

import (
	"time"

	"github.com/attestd/attestd"
)

// Schema names the reference-values document.
const Schema = "attestd.reference-values.v1"

// Set is one reference-values document: what one product in one version may measure to.
type Set struct {
	// Name of what is measured, as in "web-guest".
	Name string
	// Version of it, as in "2025.5"; empty where the document gives none.
	Version string
	Format  attestd.Format
	// Bank of the registers of every value, as in "sha256"; empty for formats with one algorithm and
	// where there are no values.
	Bank string
	// AttestationKeys and EndorsementKeys are keys that the document's author vouches for; of TPMs
	// alone. They say who measured, never what: a set of keys alone is no reference value.
	AttestationKeys, EndorsementKeys []Key
	// Values are alternatives: evidence matches the set where it matches one of them.
	Values []Value
	// SignedBy names the key whose signature [Open] verified; empty for a local document. It is not
	// part of the document.
	SignedBy string
}

// Key is one key that is trusted by its digest.
type Key struct {
	// Name tells people whose key it is, as in "rack-3-host-7".
	Name string
	// SHA256 of the key's DER SubjectPublicKeyInfo.
	SHA256 [32]byte
}

// Value is one combination of registers that is known.
type Value struct {
	// Name tells the values of a set apart, as in "4-vcpu". It is unique within the set.
	Name  string
	State State
	// Canary says for whom the value matches in StateCanary; nil in every other state.
	Canary *Canary
	// Until is when a canary or retiring value ceases to match, in whole seconds; zero for no end.
	Until time.Time
	// Registers must all be equal in the evidence. Registers of the evidence that are not named
	// here are not compared.
	Registers []attestd.Register
	// Rules say what the events of further registers may be. All must be met.
	Rules []RegisterRules
	// Events are those of the golden boot, to name what differs from it. They never match by
	// themselves.
	Events []attestd.Event
}

// Label returns name and version of the set as people read them, as in "web-guest 2025.5".
func (s *Set) Label() string {
	if s.Version == "" {
		return s.Name
	}
	return s.Name + " " + s.Version
}
