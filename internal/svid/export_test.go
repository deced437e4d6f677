package svid

// ReadRequest reads a certificate request as [Desk.Issue] does, before anything is asked for it.
func ReadRequest(der []byte, trustDomain string) (spki []byte, id string, err error) {
	w := wanted{csr: der}
	err = w.readCSR(trustDomain)
	return w.spki, w.id, err
}

// Turns lets tests take turns.
type Turns struct{ turns }

// Waiting is how many ids somebody has or waits for.
func (t *Turns) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held)
}

// Take takes a turn.
var Take = (*turns).take

// Of returns the turns.
func (t *Turns) Of() *turns { return &t.turns }
