//go:build linux && (amd64 || arm64)

package worker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Syscall is one row of the filter's table.
type Syscall struct {
	Name string
	// Why it is needed, or what it would give to whoever took the worker over.
	Why string
	// Only says under which arguments the call is allowed; empty where arguments do not matter.
	Only string

	number uint32
	block  func(pid uint32) []unix.SockFilter // nil allows whatever the arguments
}

// cloneThread are the flags with which the Go runtime starts a thread (runtime/os_linux.go,
// cloneFlags). They are compared as a whole: a process of its own, a namespace or a thread with its
// own table of files has other flags.
const cloneThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD | cloneHere

// allowed is all that a locked worker may ask of the kernel, the most frequent calls first.
var allowed = []Syscall{
	{Name: "read", number: unix.SYS_READ, Why: "requests arrive on the socket pair"},
	{Name: "write", number: unix.SYS_WRITE, Why: "replies leave on it; a panic is printed to stderr"},
	{Name: "futex", number: unix.SYS_FUTEX, Why: "threads of the Go runtime sleep and wake each other"},
	{
		Name: "epoll_pwait", number: unix.SYS_EPOLL_PWAIT,
		Why: "the Go scheduler waits for its timers (the watchdog)",
	},
	{Name: "nanosleep", number: unix.SYS_NANOSLEEP, Why: "the Go runtime's monitor thread naps"},
	{Name: "madvise", number: unix.SYS_MADVISE, Why: "freed memory goes back to the kernel"},
	{
		Name: "mmap", number: unix.SYS_MMAP, Why: "the heap and the stacks of threads grow",
		Only: "anonymous memory that is not executable", block: allowPlainMemory,
	},
	{Name: "munmap", number: unix.SYS_MUNMAP, Why: "the stacks of ended threads are freed"},
	{
		Name: "clone", number: unix.SYS_CLONE, Why: "the Go runtime starts threads",
		Only: "a thread of this process (exactly the flags of the Go runtime)", block: allowThread,
	},
	{
		Name: "tgkill", number: unix.SYS_TGKILL, Why: "the Go runtime preempts its own threads",
		Only: "threads of this process", block: allowOwnThreads,
	},
	{Name: "rt_sigreturn", number: unix.SYS_RT_SIGRETURN, Why: "a thread returns from a signal"},
	{
		Name: "rt_sigprocmask", number: unix.SYS_RT_SIGPROCMASK,
		Why: "signals are blocked while a thread starts",
	},
	{
		Name: "sigaltstack", number: unix.SYS_SIGALTSTACK,
		Why: "each new thread has a stack for signals",
	},
	{Name: "gettid", number: unix.SYS_GETTID, Why: "a new thread learns its number"},
	{Name: "getpid", number: unix.SYS_GETPID, Why: "needed beside tgkill"},
	{Name: "sched_yield", number: unix.SYS_SCHED_YIELD, Why: "a spinning thread gives way"},
	{
		Name: "clock_gettime", number: unix.SYS_CLOCK_GETTIME,
		Why: "on machines whose clock the vDSO cannot read, the Go scheduler asks the kernel",
	},
	{
		Name: "getrandom", number: unix.SYS_GETRANDOM,
		Why: "seeds of hash maps; randomness reaches nothing",
	},
	{
		Name: "restart_syscall", number: unix.SYS_RESTART_SYSCALL,
		Why: "the kernel resumes a sleep after a stop signal",
	},
	{Name: "exit", number: unix.SYS_EXIT, Why: "a thread ends"},
	{Name: "exit_group", number: unix.SYS_EXIT_GROUP, Why: "the worker ends"},
}

// fatal are the calls that no honest worker ever makes and that an attacker would make first: one of
// them ends the worker at once, so that it cannot go on to try something else.
var fatal = append([]Syscall{
	{Name: "execve", number: unix.SYS_EXECVE, Why: "start a program"},
	{Name: "execveat", number: unix.SYS_EXECVEAT, Why: "start a program"},
	{Name: "openat", number: unix.SYS_OPENAT, Why: "read or write files"},
	{Name: "openat2", number: unix.SYS_OPENAT2, Why: "read or write files"},
	{Name: "open_by_handle_at", number: unix.SYS_OPEN_BY_HANDLE_AT, Why: "read or write files"},
	{Name: "socket", number: unix.SYS_SOCKET, Why: "reach the network or local services"},
	{Name: "socketpair", number: unix.SYS_SOCKETPAIR, Why: "prepare to pass files on"},
	{Name: "connect", number: unix.SYS_CONNECT, Why: "reach the network or local services"},
	{Name: "bind", number: unix.SYS_BIND, Why: "be reached"},
	{Name: "listen", number: unix.SYS_LISTEN, Why: "be reached"},
	{Name: "accept", number: unix.SYS_ACCEPT, Why: "be reached"},
	{Name: "accept4", number: unix.SYS_ACCEPT4, Why: "be reached"},
	{Name: "sendto", number: unix.SYS_SENDTO, Why: "send elsewhere"},
	{Name: "sendmsg", number: unix.SYS_SENDMSG, Why: "send elsewhere, pass files on"},
	{Name: "sendmmsg", number: unix.SYS_SENDMMSG, Why: "send elsewhere, pass files on"},
	{Name: "recvmsg", number: unix.SYS_RECVMSG, Why: "be given files"},
	{Name: "recvmmsg", number: unix.SYS_RECVMMSG, Why: "be given files"},
	{Name: "ptrace", number: unix.SYS_PTRACE, Why: "take over another process"},
	{Name: "process_vm_readv", number: unix.SYS_PROCESS_VM_READV, Why: "read another process"},
	{Name: "process_vm_writev", number: unix.SYS_PROCESS_VM_WRITEV, Why: "write another process"},
	{Name: "pidfd_open", number: unix.SYS_PIDFD_OPEN, Why: "take over another process"},
	{Name: "pidfd_getfd", number: unix.SYS_PIDFD_GETFD, Why: "take files of another process"},
	{Name: "io_uring_setup", number: unix.SYS_IO_URING_SETUP, Why: "make calls past the filter"},
	{Name: "bpf", number: unix.SYS_BPF, Why: "attack the kernel"},
	{Name: "userfaultfd", number: unix.SYS_USERFAULTFD, Why: "attack the kernel"},
	{Name: "perf_event_open", number: unix.SYS_PERF_EVENT_OPEN, Why: "attack the kernel"},
	{Name: "keyctl", number: unix.SYS_KEYCTL, Why: "read keys"},
	{Name: "mount", number: unix.SYS_MOUNT, Why: "rebuild the file system"},
	{Name: "unshare", number: unix.SYS_UNSHARE, Why: "gain rights in a new namespace"},
	{Name: "setns", number: unix.SYS_SETNS, Why: "enter another namespace"},
}, fatalHere...)

// missing answers ENOSYS: clone3 has its flags in memory, where a filter cannot read them, so
// whoever wants a thread has to fall back to clone, whose flags it can.
var missing = []Syscall{
	{Name: "clone3", number: unix.SYS_CLONE3, Why: "its flags are out of the filter's sight"},
}

// Offsets of struct seccomp_data (linux/seccomp.h); both architectures here are little endian, so an
// argument's low half comes first.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// x32Bit marks calls of the x32 ABI on amd64: the same calls under other numbers, past any table
// that forgot them (seccomp(2), "Architecture").
const x32Bit = 0x40000000

// filterProgram returns the filter for the process pid. Every other call than those of the tables is
// answered with EPERM, as the Go runtime makes a few that it does without (prctl to name memory).
func filterProgram(pid uint32) []unix.SockFilter {
	program := []unix.SockFilter{
		load(offsetArch),
		skipIf(unix.BPF_JEQ, auditArch, 1, 0),
		answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetNumber),
		skipIf(unix.BPF_JGE, x32Bit, 0, 1),
		answer(unix.SECCOMP_RET_KILL_PROCESS),
	}
	for _, call := range allowed {
		body := []unix.SockFilter{answer(unix.SECCOMP_RET_ALLOW)}
		if call.block != nil {
			body = call.block(pid)
		}
		program = appendCase(program, call.number, body)
	}
	for _, call := range fatal {
		program = appendCase(program, call.number,
			[]unix.SockFilter{answer(unix.SECCOMP_RET_KILL_PROCESS)})
	}
	for _, call := range missing {
		program = appendCase(program, call.number,
			[]unix.SockFilter{answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))})
	}
	return append(program, answer(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)))
}

// appendCase appends "if the call is number: body", where body ends in an answer on every path.
func appendCase(program []unix.SockFilter, number uint32, body []unix.SockFilter) []unix.SockFilter {
	if len(body) > 255 {
		panic(fmt.Sprintf("filter: %d instructions behind one jump", len(body)))
	}
	program = append(program, skipIf(unix.BPF_JEQ, number, 0, uint8(len(body)))) //nolint:gosec // at most 255
	return append(program, body...)
}

// allowPlainMemory: PROT_EXEC would let an attacker bring code of their own, and a mapping that is
// not anonymous reads a file.
func allowPlainMemory(uint32) []unix.SockFilter {
	return []unix.SockFilter{
		load(offsetArgs + 8*2),
		skipIf(unix.BPF_JSET, unix.PROT_EXEC, 3, 0),
		load(offsetArgs + 8*3),
		skipIf(unix.BPF_JSET, unix.MAP_ANONYMOUS, 0, 1),
		answer(unix.SECCOMP_RET_ALLOW),
		answer(unix.SECCOMP_RET_KILL_PROCESS),
	}
}

func allowThread(uint32) []unix.SockFilter { return allowValue(0, cloneThread) }

// allowOwnThreads: without it, a worker that runs as the same user as attestd could signal it.
func allowOwnThreads(pid uint32) []unix.SockFilter { return allowValue(0, pid) }

// allowValue allows the call if the low and the high half of the argument are those of value.
func allowValue(argument, value uint32) []unix.SockFilter {
	return []unix.SockFilter{
		load(offsetArgs + 8*argument),
		skipIf(unix.BPF_JEQ, value, 0, 3),
		load(offsetArgs + 8*argument + 4),
		skipIf(unix.BPF_JEQ, 0, 0, 1),
		answer(unix.SECCOMP_RET_ALLOW),
		answer(unix.SECCOMP_RET_KILL_PROCESS),
	}
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func answer(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// skipIf skips yes instructions where the comparison with value holds, no where it does not.
func skipIf(comparison uint16, value uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | comparison, K: value, Jt: yes, Jf: no}
}
