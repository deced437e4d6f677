// Package fetch downloads the extra test vectors from the public repositories they come from.
//
// What comes in is the list of files, each with repository, commit, path and SHA-256. What is true
// of a file that Run wrote: it has the SHA-256 of the list, whoever answered the request. What is not
// shown: that every file of the list was written; the Summary says how many were, and which were not.
package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestd/attestd/testvectors"
)

// PublicBase answers BASE/OWNER/NAME/COMMIT/PATH with the file as it stands in that commit.
const PublicBase = "https://raw.githubusercontent.com"

// maxFile bounds a download; the largest published file of the list is a tenth of it.
const maxFile = 4 << 20

// Config says where from, where to, and who is told.
type Config struct {
	Base   string
	Client *http.Client
	Folder string
	// List is testvectors.ExtraSources' answer.
	List []testvectors.ExtraSource
	// Progress receives a line per file.
	Progress io.Writer
}

// Summary counts what became of the list.
type Summary struct {
	// Fetched files stand in their repository as they are wanted; Extracted ones were found inside
	// a published file by their digest; Present ones were in the folder already.
	Fetched, Extracted, Present int
	// Failed names every file that is not in the folder now, with the reason.
	Failed []string
}

// Line says it in one line.
func (s Summary) Line() string {
	return fmt.Sprintf("vectors: %d fetched, %d extracted, %d present already, %d failed",
		s.Fetched, s.Extracted, s.Present, len(s.Failed))
}

// Run downloads every file of the list that the folder lacks. A file that cannot be had does not
// stop the others.
//
// Errors: only where the folder cannot be written to or the context ended.
func Run(ctx context.Context, config Config) (Summary, error) {
	var summary Summary
	for _, want := range config.List {
		name := filepath.Join(config.Folder, filepath.FromSlash(want.File))
		have, err := os.ReadFile(name) //nolint:gosec // the name comes from the committed list
		if err == nil && digestIs(have, want.SHA256) {
			summary.Present++
			continue
		}
		data, err := one(ctx, config, want)
		if ctx.Err() != nil {
			return summary, ctx.Err()
		}
		if err != nil {
			summary.Failed = append(summary.Failed, want.File+": "+err.Error())
			_, _ = fmt.Fprintf(config.Progress, "failed   %s: %v\n", want.File, err)
			continue
		}
		if err := write(name, data); err != nil {
			return summary, err
		}
		if want.Extracted {
			summary.Extracted++
		} else {
			summary.Fetched++
		}
		_, _ = fmt.Fprintf(config.Progress, "fetched  %s\n", want.File)
	}
	return summary, nil
}

// one returns the wanted bytes, or why they cannot be had.
func one(ctx context.Context, config Config, want testvectors.ExtraSource) ([]byte, error) {
	published, err := get(ctx, config, want)
	if err != nil {
		return nil, err
	}
	if !want.Extracted {
		if !digestIs(published, want.SHA256) {
			return nil, fmt.Errorf("SHA-256 is %x, want %s", sha256.Sum256(published), want.SHA256)
		}
		return published, nil
	}
	if data, found := extract(published, want); found {
		return data, nil
	}
	return nil, fmt.Errorf("no %d bytes with the wanted SHA-256 in the published file", want.Size)
}

func get(ctx context.Context, config Config, want testvectors.ExtraSource) ([]byte, error) {
	parts := strings.Split(want.Repo+"/"+want.Commit+"/"+want.Path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	request, err := http.NewRequestWithContext(
		ctx, http.MethodGet, config.Base+"/"+strings.Join(parts, "/"), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := config.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New("the server answered " + response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxFile+1))
	if err == nil && len(body) > maxFile {
		err = fmt.Errorf("more than %d bytes", maxFile)
	}
	return body, err
}

// write puts data in place in one step, so that a run that was cut short leaves no half file.
func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // public data
		return err
	}
	half := name + ".part"
	if err := os.WriteFile(half, data, 0o644); err != nil { //nolint:gosec // public data
		return err
	}
	return os.Rename(half, name)
}

func digestIs(data []byte, want string) bool {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:]) == want
}
