package live

import "github.com/attestd/attestd/internal/subject"

// Confuses reports whether an entry named a would be taken for b, if their hashes were the same.
func Confuses(a, b subject.ID) bool {
	x := New()
	s := &shard{texts: map[uint32]string{}}
	_, e := s.add()
	if x.setName(e, a, a.Fold()); e.form == formWhole {
		s.texts[0] = string(a)
	}
	return x.isNamed(s, 0, e, b.Fold())
}

// Strangers returns how many ids without a row are remembered with their grants.
func (x *Index) Strangers() (n int) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		n += len(s.strangers.counts)
		s.mu.RUnlock()
	}
	return n
}
