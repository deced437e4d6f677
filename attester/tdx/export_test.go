package tdx

import "github.com/attestd/attestd/attester/internal/tsm"

// OverFiles returns a guest whose configfs-tsm is a fake one.
func OverFiles(files tsm.Files, log string) *Guest { return open(tsm.At("/tsm", files), log) }
