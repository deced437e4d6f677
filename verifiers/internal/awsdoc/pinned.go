package awsdoc

import "crypto/x509"

// PinnedRoot returns the AWS root that is compiled in, for people to compare with what AWS prints.
//
// Errors: those of [ParsePinnedRoot].
func PinnedRoot() (*x509.Certificate, error) { return ParsePinnedRoot(rootG1, RootG1SHA256) }
