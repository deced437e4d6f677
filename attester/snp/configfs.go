package snp

import (
	"context"

	"github.com/attestd/attestd/attester/internal/tsm"
)

// configFS asks by way of configfs-tsm.
type configFS struct{ folder *tsm.Folder }

func (c configFS) report(
	ctx context.Context, data [reportDataSize]byte,
) (report, table []byte, err error) {
	made, err := c.folder.Report(ctx, tsm.SEVGuest, data)
	return made.Report, made.Beside, err
}
