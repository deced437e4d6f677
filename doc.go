// Package attestd is the vocabulary of attestd: the types in which evidence comes in, in which what
// was verified is held, and in which a verdict goes out.
//
// The words are those of RFC 9334. [Evidence] is what an Attester sent: bytes, believed by nobody.
// A verifier (package verifiers and the folders below it) turns Evidence, [Endorsements], a time and
// a [Demand] into [Claims]. Claims have no exported fields and can be made by verifiers alone, so a
// value of that type is the proof that Verify ran and returned no error. Appraisal, under a policy,
// turns Claims into an [Appraisal]: a verdict, an integer risk with reasons, and every check with
// what was seen and what was wanted.
//
// Every zero value denies: a zero [Tier], [State], [Verdict] or [Result] grants nothing, a zero
// [Claims] is refused, a zero [Demand] is met by no evidence and a zero [RiskScore] reads 100.
//
// What this package does not do: it reads no file, network, clock or environment, and it decides
// nothing.
package attestd
