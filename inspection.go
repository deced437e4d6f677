package attestd

// Inspection is evidence decoded and nothing more: no signature, chain, time or nonce was looked at.
// It is a type of its own so that a decoded field can never be taken for a claim.
type Inspection struct {
	Format Format
	// Summary names product and version as the evidence states them.
	Summary string
	// Fields in the order in which the format has them.
	Fields []InspectedField
}

// InspectedField is one decoded, unverified field.
type InspectedField struct {
	// Name in the format's own words, dotted where fields nest.
	Name string
	// Value as people read it: hex for bytes, RFC 3339 for times. Foreign text went through
	// [Excerpt].
	Value string
	// Note explains the value where it needs one, as in "debug allowed".
	Note string
}
