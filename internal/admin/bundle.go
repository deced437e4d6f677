package admin

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

const bundleReadme = `Support bundle of attestd.

It holds what says how this attestd is: its version, its configuration without secrets, paths and
addresses, conditions, status, metrics, the level of its log, and what its goroutines were at. It holds
no evidence, no nonce, no token, no key, no audit entry, and no subject by name.
`

// supportBundle returns a tar.gz. One is made at a time: making it stops every goroutine for a moment.
func (s *server) supportBundle(c *call) (any, error) {
	if !s.bundle.TryLock() {
		return nil, refuse(attestd.ClassRateLimited, "a bundle is being made already", "try again in a second")
	}
	defer s.bundle.Unlock()
	status, err := s.bundleStatus(c)
	if err != nil {
		return nil, err
	}
	var goroutines bytes.Buffer
	// Level 1 has functions and counts; level 2 would have arguments as well.
	if err := pprof.Lookup("goroutine").WriteTo(&goroutines, 1); err != nil {
		return nil, fmt.Errorf("goroutines: %w", err)
	}
	metrics, err := s.bundleMetrics(c)
	if err != nil {
		return nil, err
	}
	files := []file{
		{"README.txt", []byte(bundleReadme)}, {"metrics.txt", metrics}, {"goroutines.txt", goroutines.Bytes()},
	}
	for name, document := range map[string]any{
		"version.json": map[string]string{"version": s.config.Version, "store": s.config.Store},
		"config.json":  redacted(s.config.Settings), "status.json": status,
		"conditions.json": s.shownConditions(c, true), "log-level.json": s.level.document(),
	} {
		content, err := json.MarshalIndent(document, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files = append(files, file{name, append(content, '\n')})
	}
	now := s.config.Now().UTC()
	content, err := pack(files, now)
	if err != nil {
		return nil, err
	}
	return answer{
		media: "application/gzip", name: "attestd-support-" + now.Format("20060102T150405Z") + ".tar.gz",
		content: content,
	}, nil
}

// bundleStatus is the status, or where the store is down what is known without it: that is when a
// bundle is wanted.
func (s *server) bundleStatus(c *call) (any, error) {
	document, err := s.status(c)
	if err != nil {
		return wire.Conditions{Schema: "attestd.conditions.v1", Conditions: s.shownConditions(c, false)}, nil
	}
	return document, nil
}

// bundleMetrics returns the page of metrics.
func (s *server) bundleMetrics(c *call) ([]byte, error) {
	request, err := http.NewRequestWithContext(c, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	page := &page{header: http.Header{}}
	promhttp.HandlerFor(s.config.Gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).
		ServeHTTP(page, request)
	return page.Bytes(), nil
}

// page is an answer that stays here.
type page struct {
	bytes.Buffer
	header http.Header
}

// Header implements [http.ResponseWriter].
func (p *page) Header() http.Header { return p.header }

// WriteHeader implements [http.ResponseWriter].
func (*page) WriteHeader(int) {}

type file struct {
	name    string
	content []byte
}

func pack(files []file, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, one := range files {
		header := &tar.Header{
			Name: "attestd-support/" + one.name, Mode: 0o600, Size: int64(len(one.content)), ModTime: at,
			Typeflag: tar.TypeReg, Format: tar.FormatPAX,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
		if _, err := archive.Write(one.content); err != nil {
			return nil, fmt.Errorf("bundle: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if err := zipped.Close(); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return out.Bytes(), nil
}
