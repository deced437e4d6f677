package crl

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// Cache keeps lists that were verified, so that each is verified and read once. It saves work and
// never changes an answer: a list is found by every byte of it and by its issuer's certificate.
// Only lists that an issuer signed are kept, so that nobody else can fill it. It may be used by
// many at once.
type Cache struct {
	lists, bytes int

	mu    sync.Mutex
	kept  map[place]*kept
	order []place // the oldest first
	total int
}

// place is where to look for a list: its issuer, length and last bytes, which are its signature's.
// They are not believed; the bytes are compared in full.
type place struct {
	issuer [sha256.Size]byte
	length int
	tail   [32]byte
}

type kept struct{ list *List }

// NewCache returns a cache for so many lists of so many bytes together.
func NewCache(lists, bytes int) *Cache {
	return &Cache{lists: lists, bytes: bytes, kept: make(map[place]*kept, lists)}
}

// Issuer names the certificate of an issuer in a Cache.
type Issuer struct {
	certificate *x509.Certificate
	digest      [sha256.Size]byte
}

// NewIssuer returns the name of an issuer. All of the certificate is in it, since its key usage is
// part of the answer.
func NewIssuer(certificate *x509.Certificate) Issuer {
	return Issuer{certificate: certificate, digest: sha256.Sum256(certificate.Raw)}
}

// Certificate returns the issuer's certificate.
func (i Issuer) Certificate() *x509.Certificate { return i.certificate }

// Get returns the list if its issuer was found to have signed it before, nil otherwise.
func (c *Cache) Get(issuer Issuer, raw []byte) *List {
	key := placeOf(issuer, raw)
	c.mu.Lock()
	found := c.kept[key]
	c.mu.Unlock()
	if found == nil || found.list.text != string(raw) {
		return nil
	}
	return found.list
}

// Add keeps a list that the issuer signed. One that alone is over the limit of bytes is not kept.
func (c *Cache) Add(issuer Issuer, list *List) {
	key := placeOf(issuer, []byte(list.text))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept[key] != nil || len(list.text) > c.bytes {
		return
	}
	for len(c.order) == c.lists || c.total+len(list.text) > c.bytes {
		oldest := c.order[0]
		c.total -= oldest.length
		delete(c.kept, oldest)
		c.order = c.order[1:]
	}
	c.kept[key] = &kept{list}
	c.order = append(c.order, key)
	c.total += len(list.text)
}

func placeOf(issuer Issuer, raw []byte) place {
	out := place{issuer: issuer.digest, length: len(raw)}
	copy(out.tail[:], raw[max(0, len(raw)-len(out.tail)):])
	return out
}
