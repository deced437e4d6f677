//go:build unix && !linux

package swtpm

import "syscall"

// diesWithUs gives the process a group of its own. Only Linux ends it with the thread that started it:
// elsewhere a swtpm is left behind where this process is killed before it closes its TPMs.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
