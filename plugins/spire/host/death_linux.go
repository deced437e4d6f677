package host

import "syscall"

// dieWithUs has the kernel kill the child when the supervisor ends, by whatever.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
