package awsdoc

// ParseDocument reads a payload.
func ParseDocument(payload []byte) (*Document, error) { return parseDocument(payload) }

// PinAs makes the bytes the pinned root until undo is called.
func PinAs(der []byte) (undo func()) {
	own := rootG1
	rootG1 = der
	return func() { rootG1 = own }
}
