package keymanager

import "golang.org/x/sys/unix"

// noDump keeps the process's memory, in which the agent's keys are, out of core dumps and from
// other processes of the same user that are not privileged (PR_SET_DUMPABLE, prctl(2)). The plugin
// does its work where the kernel refuses, too.
func noDump() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
