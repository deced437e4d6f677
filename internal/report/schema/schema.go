// Package schema publishes the JSON schemas (draft 2020-12) of everything attestd writes as JSON on
// its command line. What is true of a document that one of them accepts: its names, types and word
// lists are those promised. What is not shown: that the verdict in it is right.
package schema

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed *.json
var files embed.FS

// Names lists the schemas, as in "attestd.verdict.v1", in order.
func Names() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic(err) // the directory is compiled in
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".json"))
	}
	return names
}

// Document returns the schema called name.
func Document(name string) ([]byte, error) {
	for _, known := range Names() {
		if known == name {
			return files.ReadFile(known + ".json")
		}
	}
	return nil, fmt.Errorf("unknown schema %.60q", name)
}
