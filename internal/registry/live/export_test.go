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
