//go:build linux

package worker

import "golang.org/x/sys/unix"

// auditArch is what the kernel puts into seccomp_data for a call of this architecture: a 32-bit call
// on the same kernel has other numbers for everything.
const auditArch = unix.AUDIT_ARCH_X86_64

// cloneHere is what the Go runtime adds to its flags on amd64 (runtime/sys_linux_amd64.s, clone).
const cloneHere = unix.CLONE_SETTLS

// fatalHere are the older calls that arm64 never had.
var fatalHere = []Syscall{
	{Name: "open", number: unix.SYS_OPEN, Why: "read or write files"},
	{Name: "creat", number: unix.SYS_CREAT, Why: "read or write files"},
	{Name: "fork", number: unix.SYS_FORK, Why: "start a process"},
	{Name: "vfork", number: unix.SYS_VFORK, Why: "start a process"},
}
