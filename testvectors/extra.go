package testvectors

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

//go:embed extra-sources.tsv
var extraTable string

// ExtraSource is a row of extra-sources.tsv: a file of the folder of extra vectors, and where it was
// published.
type ExtraSource struct {
	// File is the path below the folder of extra vectors.
	File   string
	SHA256 string
	Size   int
	// Repo is OWNER/NAME, Commit a full commit id, Path the file's path in the repository.
	Repo, Commit, Path string
	Licence            string
	// Extracted says that the bytes were decoded or cut out of that file, so that they cannot be
	// fetched as they stand.
	Extracted bool
}

// ExtraSources returns the committed list of extra files.
func ExtraSources() ([]ExtraSource, error) {
	lines := strings.Split(strings.TrimSuffix(extraTable, "\n"), "\n")
	var list []ExtraSource
	for number, line := range lines[1:] {
		cells := strings.Split(line, "\t")
		if len(cells) != 8 {
			return nil, fmt.Errorf("extra-sources.tsv: row %d has %d cells, want 8", number+1, len(cells))
		}
		size, err := strconv.Atoi(cells[2])
		digest, hexErr := hex.DecodeString(cells[1])
		if err != nil || hexErr != nil || len(digest) != 32 || len(cells[4]) != 40 {
			return nil, fmt.Errorf("extra-sources.tsv: row %d: size, sha256 or commit is wrong", number+1)
		}
		list = append(list, ExtraSource{
			File: cells[0], SHA256: cells[1], Size: size, Repo: cells[3], Commit: cells[4],
			Path: cells[5], Licence: cells[6], Extracted: cells[7] == "extracted",
		})
	}
	return list, nil
}
