//go:build !linux

package host

import "syscall"

// dieWithUs leaves it to the child: it ends when its pipe from the supervisor does.
func dieWithUs() *syscall.SysProcAttr { return nil }
