package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Limits of a --collateral folder: a vendor's files for one machine are a handful.
const (
	maxCollateralFiles   = 64
	maxCollateralFile    = 256 << 10
	maxCollateralObjects = 256
	// maxCollateralDocuments is far above what one platform has: TCB information and an identity.
	maxCollateralDocuments = 64

	// maxCollateralWarnings are told one by one; a folder of other things would bury what matters.
	maxCollateralWarnings = 3
)

// collateral reads every file of a folder as the vendors publish them and recognises certificates
// and CRLs, in DER or PEM, Intel's documents, and the combined JSON in which others exchange them, by
// content: names and endings say nothing. Nothing in it is believed here; the verifier looks for a
// chain to its pinned roots.
func (a *app) collateral(folder string) (attestd.Endorsements, error) {
	var found attestd.Endorsements
	if folder == "" {
		return found, nil
	}
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return found, usagef("give the folder that the file lies in", "collateral %q is not a folder",
			attestd.Excerpt(folder, 200))
	case err != nil:
		return found, fileError("collateral folder", folder, err)
	}
	if len(entries) > maxCollateralFiles {
		return found, usagef("keep the files for one machine in a folder of their own",
			"collateral folder %q has %d entries, want at most %d", attestd.Excerpt(folder, 200),
			len(entries), maxCollateralFiles)
	}
	var unused []string
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			unused = append(unused, fmt.Sprintf("collateral %q is not a regular file and was not read", path))
			continue
		}
		data, err := a.read("collateral", path, maxCollateralFile)
		if err != nil {
			unused = append(unused, fmt.Sprintf("%v, and was not used", err))
			continue
		}
		if !addCollateral(&found, data) {
			unused = append(unused, fmt.Sprintf(
				"collateral %q is neither a certificate nor a CRL nor a document of Intel's and was not used%s",
				path, collateralGuess(data)))
		}
	}
	for _, warning := range unused[:min(len(unused), maxCollateralWarnings)] {
		a.warn("%s", warning)
	}
	if more := len(unused) - maxCollateralWarnings; more > 0 {
		a.warn("and %d more files of %q were not used", more, folder)
	}
	if len(found.Certificates)+len(found.CRLs)+len(found.Documents) == 0 {
		return found, usagef("put the vendor's certificates and CRLs into it, in DER or PEM, and Intel's JSON",
			"collateral folder %q holds no certificate and no CRL", attestd.Excerpt(folder, 200))
	}
	if total := len(found.Documents); total > maxCollateralDocuments {
		return found, usagef("keep the files for one machine in a folder of their own",
			"collateral folder %q holds %d of Intel's documents, want at most %d",
			attestd.Excerpt(folder, 200), total, maxCollateralDocuments)
	}
	if total := len(found.Certificates) + len(found.CRLs); total > maxCollateralObjects {
		return found, usagef("keep the files for one machine in a folder of their own",
			"collateral folder %q holds %d certificates and CRLs, want at most %d",
			attestd.Excerpt(folder, 200), total, maxCollateralObjects)
	}
	return found, nil
}

// addCollateral adds what data holds; false where it holds anything else.
func addCollateral(into *attestd.Endorsements, data []byte) bool {
	trimmed := bytes.TrimSpace(data)
	switch {
	case pcs.IsCombined(trimmed):
		split, err := pcs.SplitCombined(trimmed)
		if err != nil {
			return false
		}
		into.Certificates = append(into.Certificates, split.Certificates...)
		into.CRLs = append(into.CRLs, split.CRLs...)
		into.Documents = append(into.Documents, split.Documents...)
		return true
	case pcs.KindOf(trimmed) != pcs.KindNone:
		if _, err := pcs.Parse(trimmed); err != nil {
			return false
		}
		into.Documents = append(into.Documents, trimmed)
		return true
	case !bytes.HasPrefix(trimmed, []byte("-----BEGIN ")):
		return addDER(into, data)
	}
	var next attestd.Endorsements
	for rest := trimmed; len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || !addDER(&next, block.Bytes) {
			return false
		}
	}
	into.Certificates = append(into.Certificates, next.Certificates...)
	into.CRLs = append(into.CRLs, next.CRLs...)
	return true
}

func addDER(into *attestd.Endorsements, der []byte) bool {
	if _, err := x509.ParseCertificate(der); err == nil {
		into.Certificates = append(into.Certificates, der)
		return true
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		into.CRLs = append(into.CRLs, der)
		return true
	}
	return false
}

// isCollateral reports whether data is what belongs into a --collateral folder, in DER.
func isCollateral(data []byte) bool { return addDER(new(attestd.Endorsements), data) }

// collateralGuess names the mistake that is made most: an error page saved as a certificate.
func collateralGuess(data []byte) string {
	start := strings.ToLower(string(bytes.TrimSpace(data[:min(len(data), 512)])))
	switch {
	case strings.HasPrefix(start, "<!doctype") || strings.HasPrefix(start, "<html"):
		return ": it is a web page, perhaps an error that was saved under this name"
	case pcs.IsCombined(data):
		_, err := pcs.SplitCombined(bytes.TrimSpace(data))
		return ": as combined collateral it cannot be read: " + attestd.Excerpt(fmt.Sprint(err), 160)
	case pcs.KindOf(data) != pcs.KindNone:
		_, err := pcs.Parse(bytes.TrimSpace(data))
		return ": it cannot be read: " + attestd.Excerpt(fmt.Sprint(err), 160)
	case strings.HasPrefix(start, "{"):
		return ": it is other JSON"
	default:
		return ""
	}
}
