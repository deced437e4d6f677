package tdx

import (
	"crypto/x509"
	"sync"

	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// byBytes remembers what was made of bytes that were verified. It saves work and never changes an
// answer: a value is found by every byte that it was made of. Only what a pinned or given root vouches
// for is kept, so that nobody else can fill it. It may be used by many at once, and forgets the oldest
// first.
type byBytes[V any] struct {
	mu    sync.Mutex
	kept  map[bytesPlace]keptBytes[V]
	order []bytesPlace
	total int
}

// bytesPlace is where to look: length and last bytes, which are a signature's. They are not believed;
// the bytes are compared in full.
type bytesPlace struct {
	length int
	tail   [32]byte
}

type keptBytes[V any] struct {
	raw   string
	value V
}

type (
	documentCache = byBytes[authenticDocument]
	signerCache   = byBytes[authenticSigner]
)

// authenticDocument is a document and the key that signed it, as DER SubjectPublicKeyInfo: one key can
// have several certificates, and which of them count is not for a cache to say.
type authenticDocument struct {
	pcs.Document
	key []byte
}

// authenticSigner is a TCB signing key and the root over it.
type authenticSigner struct {
	*pcs.Signer
	root *x509.Certificate
}

// key is the signer's, as DER SubjectPublicKeyInfo.
func (s *authenticSigner) key() []byte { return s.Certificate().RawSubjectPublicKeyInfo }

func placeOfBytes(raw []byte) bytesPlace {
	out := bytesPlace{length: len(raw)}
	copy(out.tail[:], raw[max(0, len(raw)-len(out.tail)):])
	return out
}

func (c *byBytes[V]) get(raw []byte) (V, bool) {
	c.mu.Lock()
	found, ok := c.kept[placeOfBytes(raw)]
	c.mu.Unlock()
	if !ok || found.raw != string(raw) {
		var none V
		return none, false
	}
	return found.value, true
}

func (c *byBytes[V]) add(raw []byte, value V) {
	at := placeOfBytes(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = make(map[bytesPlace]keptBytes[V])
	}
	if _, known := c.kept[at]; known || len(raw) > collateralLimits.bytes {
		return
	}
	for len(c.order) == collateralLimits.cached || c.total+len(raw) > collateralLimits.bytes {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.total -= oldest.length
		delete(c.kept, oldest)
	}
	c.kept[at] = keptBytes[V]{string(raw), value}
	c.order = append(c.order, at)
	c.total += len(raw)
}
