// Package compute holds what predictions of reference values have in common. Those predict, from
// what an image was built of, what a machine will measure that starts it: package snp the launch
// digest of an SEV-SNP guest, package eif the PCRs of a Nitro enclave.
//
// What comes in are files as they were built, and what somebody says of the machine: its virtual
// machine monitor, its processors. What is true of a value that is returned: it follows from these
// by rules that are written down with their source. What is not shown: that a machine measures by
// the same rules (hold each prediction against one real start of its kind), or that what was built
// is any good. Nothing here reads a file, a clock or a network.
package compute
