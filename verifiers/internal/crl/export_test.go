package crl

// ReadUnverified reads a list as if its signature held.
func ReadUnverified(raw []byte) (*List, error) {
	outline, err := Read(raw)
	if err != nil {
		return nil, err
	}
	return readList(outline)
}
