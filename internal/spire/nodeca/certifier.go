package nodeca

// Certifier is a CA together with what nodes shall trust attestd's own certificate by, which is signed
// by another: that of attestd's listeners.
type Certifier struct {
	*CA

	root []byte
}

// WithRoot returns the CA with the root, in DER, that the certificate of attestd's listener for nodes
// chains to.
func (c *CA) WithRoot(root []byte) Certifier { return Certifier{CA: c, root: root} }

// Root returns it.
func (c Certifier) Root() []byte { return append([]byte(nil), c.root...) }
