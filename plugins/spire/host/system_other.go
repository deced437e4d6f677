//go:build !linux

package host

import (
	"os"
	"syscall"
)

// dieWithUs leaves it to the child: it ends when its pipe from the supervisor does.
func dieWithUs() *syscall.SysProcAttr { return nil }

// memory is a file whose name is gone before anything is in it.
func memory() (*os.File, error) {
	file, err := os.CreateTemp("", "attestd-spire-keep-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// keepToOurselves has no counterpart that is the same everywhere.
func keepToOurselves() {}

// isMount says no where nothing is known.
func isMount(string) bool { return false }
