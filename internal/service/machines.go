package service

import (
	"slices"

	"github.com/attestd/attestd"
)

// Machines has the certificates of single machines that the verifier's own side keeps. It reads from
// evidence no more than which machine it names, and believes nothing of it.
type Machines interface {
	// Of returns the certificates of the machine that the evidence names, in DER.
	Of(format attestd.Format, evidence []byte) [][]byte
	// Missed is told of a verdict that could not be reached for want of one.
	Missed(source string, given attestd.Appraisal, evidence []byte)
}

// endorsed returns the endorsements of the caller and what is kept of the machine. They are stored with
// the evidence, so that it is judged again with what it was judged with.
func (s *Service) endorsed(
	format attestd.Format, evidence []byte, given attestd.Endorsements,
) attestd.Endorsements {
	if s.config.Machines == nil {
		return given
	}
	if kept := s.config.Machines.Of(format, evidence); len(kept) != 0 {
		given.Certificates = slices.Concat(given.Certificates, kept)
	}
	return given
}

// missed tells whoever fetches certificates that one was missing.
func (s *Service) missed(source string, given attestd.Appraisal, evidence []byte) {
	if s.config.Machines != nil && given.Verdict == attestd.VerdictUndecided {
		s.config.Machines.Missed(source, given, evidence)
	}
}
