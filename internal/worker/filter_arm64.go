//go:build linux

package worker

import "golang.org/x/sys/unix"

// auditArch is what the kernel puts into seccomp_data for a call of this architecture: a 32-bit call
// on the same kernel has other numbers for everything.
const auditArch = unix.AUDIT_ARCH_AARCH64

// cloneHere: the Go runtime adds no flags on arm64 (runtime/sys_linux_arm64.s, clone).
const cloneHere = 0

// fatalHere is empty: arm64 never had open, creat, fork and vfork.
var fatalHere []Syscall
