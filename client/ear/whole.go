package ear

// Whole returns the part that is about the machine as a whole: the one that attestd says is about no
// single device. It has subject, key and edges. There is none in a result of another issuer, or where
// two parts claim to be it.
func (r *Result) Whole() (Submod, bool) {
	var whole Submod
	found := false
	if r == nil {
		return Submod{}, false
	}
	for _, part := range r.Submods {
		if part.Own == nil || part.Own.Device != "" {
			continue
		}
		if found {
			return Submod{}, false
		}
		whole, found = part, true
	}
	return whole, found
}
