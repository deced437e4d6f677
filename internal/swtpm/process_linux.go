package swtpm

import "syscall"

// diesWithUs has the kernel end the process with the thread that started it (prctl(2),
// PR_SET_PDEATHSIG), and gives it a process group of its own, so that ^C does not reach it.
func diesWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
