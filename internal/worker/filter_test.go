package worker_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd/internal/worker"
)

// systemCall is what a filter sees (struct seccomp_data).
type systemCall struct {
	number, arch uint32
	args         [6]uint64
}

func (c systemCall) word(offset uint32) uint32 {
	switch {
	case offset == 0:
		return c.number
	case offset == 4:
		return c.arch
	case offset >= 16 && offset < 64 && offset%8 == 0:
		return uint32(c.args[(offset-16)/8])
	case offset >= 16 && offset < 64 && offset%8 == 4:
		return uint32(c.args[(offset-16)/8] >> 32)
	default:
		panic("a filter reads what the tests do not know")
	}
}

// answer runs the program as the kernel would.
func answer(t *testing.T, program []unix.SockFilter, call systemCall) uint32 {
	t.Helper()
	var accumulator uint32
	for at := 0; at < len(program); at++ {
		one := program[at]
		var holds bool
		switch one.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			accumulator = call.word(one.K)
			continue
		case unix.BPF_RET | unix.BPF_K:
			return one.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = accumulator == one.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = accumulator >= one.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			holds = accumulator&one.K != 0
		default:
			t.Fatalf("instruction %d has code %#x", at, one.Code)
		}
		if holds {
			at += int(one.Jt)
		} else {
			at += int(one.Jf)
		}
	}
	t.Fatal("the program has no end")
	return 0
}

const (
	allow   = unix.SECCOMP_RET_ALLOW
	kill    = unix.SECCOMP_RET_KILL_PROCESS
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// TestEveryCallByNumber: what the tables say is what the program does, for every number there is.
func TestEveryCallByNumber(t *testing.T) {
	program := worker.FilterProgram(4711)
	want := map[uint32]uint32{}
	for _, call := range worker.Allowed() {
		want[call.Number()] = allow
		if call.Conditional() {
			want[call.Number()] = kill // with arguments that are all ones
		}
	}
	for _, call := range worker.Fatal() {
		want[call.Number()] = kill
	}
	for _, call := range worker.Missing() {
		want[call.Number()] = unknown
	}
	if len(want) != len(worker.Allowed())+len(worker.Fatal())+len(worker.Missing()) {
		t.Error("a call stands in two rows")
	}
	ones := [6]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	for number := range uint32(2048) {
		expected, known := want[number]
		if !known {
			expected = refuse
		}
		if got := answer(t, program, systemCall{number, worker.AuditArch, ones}); got != expected {
			t.Errorf("call %d: got %#x, want %#x", number, got, expected)
		}
		for name, call := range map[string]systemCall{
			"32-bit":  {number, unix.AUDIT_ARCH_I386, ones},
			"foreign": {number, unix.AUDIT_ARCH_RISCV64, ones},
			"x32":     {number | 0x40000000, worker.AuditArch, ones},
		} {
			if got := answer(t, program, call); got != kill {
				t.Errorf("%s call %d: got %#x, want killed", name, number, got)
			}
		}
	}
}

// TestCallsByArgument are the calls whose arguments decide.
func TestCallsByArgument(t *testing.T) {
	const pid = 4711
	program := worker.FilterProgram(pid)
	plain := uint64(unix.MAP_ANON | unix.MAP_PRIVATE)
	for _, row := range []struct {
		name   string
		number uint32
		args   [6]uint64
		want   uint32
	}{
		{"memory", unix.SYS_MMAP, [6]uint64{0, 1, unix.PROT_READ | unix.PROT_WRITE, plain}, allow},
		{"reserved memory", unix.SYS_MMAP, [6]uint64{0, 1, unix.PROT_NONE, plain}, allow},
		{"executable memory", unix.SYS_MMAP, [6]uint64{0, 1, unix.PROT_EXEC, plain}, kill},
		{"writable code", unix.SYS_MMAP, [6]uint64{0, 1, 7, plain}, kill},
		{"a file", unix.SYS_MMAP, [6]uint64{0, 1, unix.PROT_READ, unix.MAP_PRIVATE, 3}, kill},
		{"a thread", unix.SYS_CLONE, [6]uint64{worker.CloneThread}, allow},
		{"a process", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, kill},
		{"a thread in a namespace", unix.SYS_CLONE, [6]uint64{worker.CloneThread | unix.CLONE_NEWUSER}, kill},
		{"a thread with high flags", unix.SYS_CLONE, [6]uint64{worker.CloneThread | 1<<32}, kill},
		{"a signal to itself", unix.SYS_TGKILL, [6]uint64{pid, pid + 1, 23}, allow},
		{"a signal to another", unix.SYS_TGKILL, [6]uint64{pid + 1, pid + 1, 23}, kill},
		{"a signal to all", unix.SYS_TGKILL, [6]uint64{^uint64(0), 1, 23}, kill},
	} {
		if got := answer(t, program, systemCall{row.number, worker.AuditArch, row.args}); got != row.want {
			t.Errorf("%s: got %#x, want %#x", row.name, got, row.want)
		}
	}
}
