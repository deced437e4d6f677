package cases

// Keys returns the keys of each section of a case.
func Keys() map[string][]string {
	out := map[string][]string{}
	for i := range sections {
		out[sections[i].key] = sections[i].names()
	}
	return out
}
