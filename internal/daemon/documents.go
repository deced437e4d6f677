package daemon

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/measurements"
)

// maxFile is the largest policy, reference or root file that is read.
const maxFile = 8 << 20

type documents struct {
	policy, recorded service.Document
	tenants          map[string]service.Document
	references       []service.Document
	roots            []*x509.Certificate
}

// readDocuments reads what the configuration names, and reports every file that will not do.
func readDocuments(verify config.Verify) (documents, error) {
	var read documents
	var errs []error
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		return documents{}, err
	}
	read.recorded = service.Document{Source: appraisal.Recorded, Bytes: recorded.Document()}
	read.policy, err = readPolicy(verify.Policy)
	errs = append(errs, err)
	var unread []error
	read.tenants, unread = tenantPolicies(verify)
	errs = append(errs, unread...)
	keys, unread := referenceKeys(verify.ReferenceKeys)
	errs = append(errs, unread...)
	for _, list := range []struct {
		paths []string
		trust measurements.Trust
	}{
		{verify.References, measurements.Trust{Keys: keys}},
		{verify.LocalReferences, measurements.Trust{Keys: keys, Local: true}},
	} {
		for _, path := range list.paths {
			document, err := readFile(path)
			if err == nil {
				_, err = measurements.Open(path, document.Bytes, list.trust)
			}
			errs = append(errs, err)
			read.references = append(read.references, document)
		}
	}
	for _, path := range verify.InsecureRoots {
		roots, err := readCertificates(path)
		errs = append(errs, err)
		read.roots = append(read.roots, roots...)
	}
	if err := errors.Join(errs...); err != nil {
		return documents{}, unfit(err, "mend the files that the configuration names under \"verify\"")
	}
	return read, nil
}

// referenceKeys reads the keys of those who sign reference values.
func referenceKeys(paths []string) (keys []measurements.PublicKey, errs []error) {
	for _, path := range paths {
		document, err := readFile(path)
		if err == nil {
			var some []measurements.PublicKey
			some, err = measurements.ReadKeys(path, document.Bytes)
			keys = append(keys, some...)
		}
		errs = append(errs, err)
	}
	return keys, errs
}

func readFile(path string) (service.Document, error) {
	// A pipe without a writer would be waited for without end, by a daemon that then cannot be stopped.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the operator names it
	if err != nil {
		return service.Document{}, err
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return service.Document{}, errors.Join(err, fmt.Errorf("%s is not a file", path))
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return service.Document{}, err
	}
	if len(content) == 0 || len(content) > maxFile {
		return service.Document{}, fmt.Errorf("%s has %d bytes, want 1 to %d", path, len(content), maxFile)
	}
	return service.Document{Source: path, Bytes: content}, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	document, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for rest := document.Bytes; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return certificates, nil
}

// tenantPolicies reads the policies of tenants: "TENANT=NAME or path".
func tenantPolicies(verify config.Verify) (map[string]service.Document, []error) {
	read := make(map[string]service.Document, len(verify.TenantPolicies))
	var errs []error
	for _, entry := range verify.TenantPolicies {
		tenant, path, _ := strings.Cut(entry, "=")
		document, err := readPolicy(path)
		errs = append(errs, err)
		read[tenant] = document
	}
	return read, errs
}

// readPolicy returns the policy that is built in under a name, or that a file holds.
func readPolicy(name string) (service.Document, error) {
	for _, known := range appraisal.BuiltinNames() {
		if known == name {
			builtin, err := appraisal.Builtin(name)
			if err != nil {
				return service.Document{}, err
			}
			return service.Document{Source: name, Bytes: builtin.Document()}, nil
		}
	}
	document, err := readFile(name)
	if err == nil {
		_, err = appraisal.ParsePolicy(name, document.Bytes)
	}
	return document, err
}
