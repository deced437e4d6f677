// Package ear reads attestation results: EAT Attestation Results (EAR, draft-ietf-rats-ear) in the
// tokens that attestd signs, in both profiles that it writes.
//
// What comes in is a token from anybody, the issuer's keys, and what the reader expects. What is true of
// a [Result] that [Verify] returned: the token was signed by one of the keys, is for this reader, shows
// the nonce that the reader gave, was in force at the time, and no status in it is better than its trust
// vector allows. What is not shown: that whoever brought the token is whom it is about, unless the reader
// checks the connection's key against [Submod.KeySPKI]; or that the subject was not quarantined since,
// which only attestd can say.
//
// Nothing is fetched and no clock is read: keys and time are arguments. There is one algorithm, and no
// part of a token says how it is to be verified.
package ear
