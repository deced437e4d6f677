// Package worker judges hostile bytes in processes of their own, which hold no keys and have no
// network, no files and no way to start a program.
//
// What comes in is a [service.Job]. What is true when [Pool.Judge] returns an Appraisal and no
// error: a process that had locked itself by seccomp before it saw the first byte of any evidence
// answered, in time, with exactly one well-formed verdict, which is about the evidence, the policy
// and the time that were sent and does not contradict itself. A worker that panics, hangs, is
// killed or answers anything else gives an error, never a verdict, and is replaced.
//
// What is not shown: that the verdict is right. A worker that evidence has taken over can lie about
// that evidence and about later evidence until it is recycled; it cannot reach keys, the store, the
// network or another worker. Nor does it hold against a fault in the kernel's own handling of the
// few system calls that are left; docs/isolation.md lists them.
package worker
