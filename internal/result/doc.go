// Package result writes attestation results: verdicts as EAT Attestation Results (EAR,
// draft-ietf-rats-ear) in signed tokens that relying parties read with the field's own clients, or with
// package client/ear.
//
// What comes in is an [attestd.Appraisal], which attestd itself reached, with the words for whom and
// until when the result is. What is true of a token that [Issuer.Sign] gave: its status is no better
// than the verdict, than the state of the subject and than the worst claim of the trust vector; it ends;
// it has neither evidence nor facts of the evidence. What is not shown: that the subject may have a
// result at all (package service asks the index for that), or that whoever holds the token is whom it
// is about, except where it names a key.
package result
