// Package verifiertest is the conformance suite that every verifier passes.
//
// What comes in is a [Case]: a way to build the verifier, and one good input. What is true if
// [Conformance] passes: every one-bit change, truncation, trailing byte, other nonce, missing demand,
// other key and other time is refused with an error that names a check of the verifier's table,
// without a panic and without a write to the input; what is accepted ran every check of the table,
// carries only documented facts, keeps nothing of the caller's memory, and costs at most eight
// signature verifications, of a composer for each device; a composer's claims have each device's own,
// with its checks under its path and an edge to it. What is not shown: that good input with other contents is judged rightly
// (rows of tests show that), and anything about policy.
//
// Adding a format is adding a folder: its tests call Conformance once per good vector, most easily
// with [Vectors].
package verifiertest
