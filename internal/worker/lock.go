package worker

import "encoding/binary"

// Lock says which layers a worker has put up around itself. The zero Lock is none.
type Lock struct {
	// Seccomp says that the filter is on every thread.
	Seccomp bool
	// Landlock is the kernel's Landlock ABI, 0 where it has none.
	Landlock int
}

func (l Lock) append(out []byte) []byte {
	seccomp := byte(0)
	if l.Seccomp {
		seccomp = 1
	}
	return binary.BigEndian.AppendUint32(append(out, seccomp), uint32(l.Landlock)) //nolint:gosec // a small number
}

func readLock(payload []byte) (Lock, error) {
	r := fields{rest: payload}
	l := Lock{Seccomp: r.take(1)[0] == 1, Landlock: int(r.uint32())}
	return l, r.end()
}
