//go:build !linux || (!amd64 && !arm64)

package worker

import (
	"fmt"
	"runtime"
)

// lock fails: without a filter for this system there is no worker.
func lock(uint64) (Lock, error) {
	return Lock{}, fmt.Errorf("seccomp: no filter for %s/%s", runtime.GOOS, runtime.GOARCH)
}

func closeOthers(int) error { return nil }
