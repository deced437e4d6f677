// Package attester is the Attester's side of attestd (RFC 9334 section 2): it takes a challenge of a
// verifier, says what the evidence must be bound to, and names what a collector of evidence gives.
// Agents import it together with one of the packages below it: attester/tpm, attester/snp,
// attester/nitro.
//
// What comes in: the reply of POST /v1/challenges, and from the agent's own configuration the trust
// domain of its verifier and, where they were fetched beforehand, that verifier's public keys. What
// is true where [Verifier.Accept] returns no error: the challenge is of that trust domain, for the
// format that was asked for, and not over by this machine's clock; with keys, one of them signed it.
// What is not shown: that the challenge was never used, which only the verifier's store knows, and
// without keys that it is the verifier's at all. The connection it came over must vouch for it then.
package attester
