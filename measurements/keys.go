package measurements

import (
	"encoding/hex"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// readKeys reads {name: digest} or [{name: ..., sha256: ...}]. Taken holds the digests that stood
// before, in either list: a key under two names, or in two roles, is a mistake somewhere.
func readKeys(node *yamldoc.Node, taken map[[32]byte]string) []Key {
	if node == nil {
		return nil
	}
	var keys []Key
	add := func(at, digest *yamldoc.Node, name string) {
		sum, ok := readKeyDigest(digest)
		switch other, double := taken[sum]; {
		case !ok:
		case !nameForm.MatchString(name):
			at.Problem("name %q: want 1 to 64 of: letters, digits, . _ + -", attestd.Excerpt(name, 40))
		case double:
			at.Problem("is the same key as %q", other)
		default:
			taken[sum] = name
			keys = append(keys, Key{Name: name, SHA256: sum})
		}
	}
	if node.IsMap() {
		entries, _ := node.Entries()
		for _, entry := range entries {
			add(entry.Value, entry.Value, entry.Key)
		}
		return keys
	}
	if !node.IsList() {
		node.Problem("want a map from names to digests, or a list of {name: ..., sha256: ...}")
		return nil
	}
	items, _ := node.Items()
	names := make(map[string]bool, len(items))
	for _, item := range items {
		fields, ok := item.Fields([]string{"name", "sha256"}, nil)
		if !ok {
			continue
		}
		name, ok := fields.Get("name").Text()
		if ok && names[name] {
			item.Problem("name %q stands twice", attestd.Excerpt(name, 40))
			continue
		}
		if names[name] = true; ok {
			add(item, fields.Get("sha256"), name)
		}
	}
	return keys
}

// readKeyDigest reads the SHA-256 of a public key.
func readKeyDigest(node *yamldoc.Node) (sum [32]byte, ok bool) {
	text, ok := node.Text()
	if !ok {
		return sum, false
	}
	digest, err := hex.DecodeString(text)
	switch {
	case err != nil:
		node.Problem("is not hex: %q", attestd.Excerpt(text, 20))
	case len(digest) != len(sum):
		node.Problem("got %d bytes, want 32: the SHA-256 of the key's SubjectPublicKeyInfo", len(digest))
	case isZero(digest):
		node.Problem("is all zero, which is no key")
	default:
		copy(sum[:], digest)
		return sum, true
	}
	return sum, false
}

// Keys returns the digests of the keys that sets of the format vouch for, each once.
func (x *Index) Keys(format attestd.Format) (attestation, endorsement [][32]byte) {
	if x == nil {
		return nil, nil
	}
	collect := func(of func(*Set) []Key) (sums [][32]byte) {
		seen := make(map[[32]byte]bool)
		for _, set := range x.sets {
			if set.Format != format {
				continue
			}
			for _, key := range of(set) {
				if !seen[key.SHA256] {
					seen[key.SHA256] = true
					sums = append(sums, key.SHA256)
				}
			}
		}
		return sums
	}
	return collect(func(s *Set) []Key { return s.AttestationKeys }),
		collect(func(s *Set) []Key { return s.EndorsementKeys })
}
