package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/measurements"
)

// examine looks at a configuration and at what it names, without a server.
func (a *app) examine(path string) []condition.Finding {
	doc, err := a.read("configuration", path, maxDocument)
	if err != nil {
		return []condition.Finding{{ID: condition.ConfigReadable, Severity: condition.Failure, Detail: err.Error()}}
	}
	settings, err := config.Parse(path, doc)
	if err != nil {
		return []condition.Finding{{ID: condition.ConfigReadable, Severity: condition.Failure, Detail: err.Error()}}
	}
	found := []condition.Finding{
		a.examineDocuments(settings.Verify), examineFiles(settings), a.examineCertificate(settings.Listen.TLS),
	}
	var laboratory []string
	for _, entry := range append(settings.Verify.TenantPolicies, "all="+settings.Verify.Policy) {
		if tenant, policy, _ := strings.Cut(entry, "="); policy == appraisal.Laboratory {
			laboratory = append(laboratory, tenant)
		}
	}
	return append(found, condition.Settings{
		Isolated:   settings.Verify.Isolation == config.IsolateProcess,
		Laboratory: laboratory, Recorded: settings.Verify.AllowRecorded,
		Roots: len(settings.Verify.InsecureRoots), Automation: settings.Automation.Mode,
	}.Findings()...)
}

// examineDocuments reads every policy, reference and root file as the daemon will.
func (a *app) examineDocuments(verify config.Verify) condition.Finding {
	var errs []error
	policies := []string{verify.Policy}
	for _, entry := range verify.TenantPolicies {
		_, policy, _ := strings.Cut(entry, "=")
		policies = append(policies, policy)
	}
	for _, name := range policies {
		if slices.Contains(appraisal.BuiltinNames(), name) {
			continue
		}
		doc, err := a.read("policy", name, maxDocument)
		if err == nil {
			_, err = appraisal.ParsePolicy(name, doc)
		}
		errs = append(errs, err)
	}
	for _, path := range verify.References {
		doc, err := a.read("reference values", path, maxDocument)
		if err == nil {
			_, err = measurements.Parse(path, doc)
		}
		errs = append(errs, err)
	}
	for _, path := range verify.InsecureRoots {
		_, err := a.leaf("roots", path)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return condition.Finding{ID: condition.ConfigReadable, Severity: condition.Failure, Detail: err.Error()}
	}
	return condition.Finding{ID: condition.ConfigReadable, Severity: condition.OK, Detail: "read as a whole"}
}

// examineFiles looks at who can read what is secret.
func examineFiles(settings config.Config) condition.Finding {
	secret := []string{
		settings.StateDir, filepath.Join(settings.StateDir, "challenge.key"),
		filepath.Join(settings.StateDir, "audit.key"), filepath.Join(settings.StateDir, "admin.token"),
		filepath.Join(settings.StateDir, "attestd.db"), filepath.Join(settings.StateDir, "pki"),
	}
	if settings.Listen.TLS.Key != "" {
		secret = append(secret, settings.Listen.TLS.Key)
	}
	keys, err := filepath.Glob(filepath.Join(settings.StateDir, "pki", "*.key"))
	if err == nil {
		secret = append(secret, keys...)
	}
	var open, unseen []string
	for _, path := range secret {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // made at the start
		case err != nil:
			unseen = append(unseen, path)
		case info.Mode().Perm()&0o077 != 0:
			open = append(open, fmt.Sprintf("%s (%04o)", path, info.Mode().Perm()))
		}
	}
	switch {
	case len(open) > 0:
		return condition.Finding{
			ID: condition.FilesPrivate, Severity: condition.Failure, Detail: strings.Join(open, ", "),
		}
	case len(unseen) > 0:
		return condition.Finding{
			ID:     condition.FilesPrivate,
			Detail: "this user may not look at " + strings.Join(unseen, ", ") + ": run doctor as attestd's user",
		}
	default:
		return condition.Finding{ID: condition.FilesPrivate, Severity: condition.OK, Detail: "keys are their owner's"}
	}
}

// examineCertificate looks at when the certificate of the HTTP listener ends.
func (a *app) examineCertificate(tls config.TLS) condition.Finding {
	if !tls.Enabled() {
		return condition.Finding{ID: condition.TLSCertificate, Severity: condition.OK, Detail: "not in use"}
	}
	leaf, err := a.leaf("certificate", tls.Certificate)
	if err != nil {
		return condition.Finding{ID: condition.TLSCertificate, Severity: condition.Failure, Detail: err.Error()}
	}
	return condition.Certificate(condition.TLSCertificate, leaf.NotBefore, leaf.NotAfter, a.now())
}

// leaf reads the first certificate of a PEM file.
func (a *app) leaf(what, path string) (*x509.Certificate, error) {
	doc, err := a.read(what, path, maxDocument)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(doc)
	if block == nil {
		return nil, usagef("give a PEM file", "%s %q holds no PEM", what, path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, usagef("give certificates in PEM", "%s %q: %w", what, path, err)
	}
	return certificate, nil
}
