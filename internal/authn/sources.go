package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/attestd/attestd"
)

// maxFile is the largest bundle that is read from a file.
const maxFile = 1 << 20

// ParseSource reads what the configuration says of a trust domain's bundle: file:PATH,
// workload:unix:PATH, https_web:URL, or https_spiffe:SPIFFE_ID,URL. bootstrap is the path of the bundle
// that an https_spiffe endpoint is first asked with; later ones are asked for with the newest.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func ParseSource(domain spiffeid.TrustDomain, text, bootstrap string) (Source, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "file":
		if !filepath.IsAbs(rest) {
			return nil, unfit(domain, "file:%s is no absolute path", rest)
		}
		return fileSource{domain, rest}, nil
	case "workload":
		if !strings.HasPrefix(rest, "unix:/") {
			return nil, unfit(domain, "workload:%s, want workload:unix:PATH", rest)
		}
		return workloadSource{domain, rest}, nil
	case "https_web":
		address, err := secure(rest)
		if err != nil {
			return nil, unfit(domain, "https_web: %v", err)
		}
		return &endpoint{domain: domain, url: address}, nil
	case "https_spiffe":
		id, address, _ := strings.Cut(rest, ",")
		server, err := spiffeid.FromString(id)
		if err != nil {
			return nil, unfit(domain, "https_spiffe: %v", err)
		}
		if address, err = secure(address); err != nil {
			return nil, unfit(domain, "https_spiffe: %v", err)
		}
		if !filepath.IsAbs(bootstrap) {
			return nil, unfit(domain, "https_spiffe needs a first bundle, as an absolute path in decisions.bootstrap")
		}
		return &endpoint{domain: domain, url: address, server: server, first: fileSource{
			server.TrustDomain(), bootstrap,
		}}, nil
	}
	return nil, unfit(domain, "unknown source %q, want file, workload, https_web or https_spiffe", kind)
}

func unfit(domain spiffeid.TrustDomain, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "mend decisions.bundles; docs/decisions/authentication.md has the forms",
		Err: errors.New(attestd.Excerpt(fmt.Sprintf("bundle of "+domain.Name()+": "+format, args...), 300)),
	}
}

func secure(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil {
		return "", errors.New("want an https URL without a name in it")
	}
	return text, nil
}

// fileSource reads a SPIFFE bundle, or certificates in PEM: those verify X509-SVIDs alone.
type fileSource struct {
	domain spiffeid.TrustDomain
	path   string
}

// Every implements [Source].
func (fileSource) Every() time.Duration { return soonest }

// Fetch implements [Source].
func (s fileSource) Fetch(context.Context) (*spiffebundle.Bundle, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("bundle: %s is no file of at most %d bytes", s.path, maxFile)
	}
	document, err := os.ReadFile(s.path)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if !strings.HasPrefix(strings.TrimLeft(string(document), " \t\r\n"), "-----BEGIN") {
		return spiffebundle.Parse(s.domain, document)
	}
	certificates, err := certificatesOf(document)
	if err != nil {
		return nil, err
	}
	return spiffebundle.FromX509Authorities(s.domain, certificates), nil
}

// workloadSource asks a SPIRE agent.
type workloadSource struct {
	domain  spiffeid.TrustDomain
	address string
}

// Every implements [Source].
func (workloadSource) Every() time.Duration { return soonest }

// Fetch implements [Source].
func (s workloadSource) Fetch(ctx context.Context) (*spiffebundle.Bundle, error) {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(s.address))
	if err != nil {
		return nil, fmt.Errorf("workload API: %w", err)
	}
	defer func() { _ = client.Close() }()
	certificates, err := client.FetchX509Bundles(ctx)
	if err != nil {
		return nil, fmt.Errorf("workload API: %w", err)
	}
	keys, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return nil, fmt.Errorf("workload API: %w", err)
	}
	out := spiffebundle.New(s.domain)
	if found, ok := certificates.Get(s.domain); ok {
		out.SetX509Authorities(found.X509Authorities())
	}
	if found, ok := keys.Get(s.domain); ok {
		out.SetJWTAuthorities(found.JWTAuthorities())
	}
	return out, nil
}

// endpoint is a SPIFFE bundle endpoint: authenticated by the web's PKI, or by SPIFFE.
type endpoint struct {
	domain spiffeid.TrustDomain
	url    string
	// server and first are set for SPIFFE.
	server spiffeid.ID
	first  Source
	// roots are for tests of the web's PKI; nil for the machine's.
	roots *x509.CertPool
	last  *spiffebundle.Bundle
}

// Every implements [Source].
func (*endpoint) Every() time.Duration { return latest }

// Fetch implements [Source]. It is called by one goroutine at a time.
func (e *endpoint) Fetch(ctx context.Context) (*spiffebundle.Bundle, error) {
	var options []federation.FetchOption
	if !e.server.IsZero() {
		with := e.last
		if with == nil || e.server.TrustDomain() != e.domain {
			var err error
			if with, err = e.first.Fetch(ctx); err != nil {
				return nil, err
			}
		}
		options = append(options, federation.WithSPIFFEAuth(with, e.server))
	} else if e.roots != nil {
		options = append(options, federation.WithWebPKIRoots(e.roots))
	}
	got, err := federation.FetchBundle(ctx, e.domain, e.url, options...)
	if err != nil {
		return nil, err
	}
	e.last = got
	return got, nil
}
