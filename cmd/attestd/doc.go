// Attestd verifies hardware attestation evidence, explains its verdicts, and serves both over HTTP.
//
// What comes in are files, standard input and flags. If a verification ends with exit code 0, the
// evidence was accepted: every check of the verifier passed and the policy puts the risk at low or
// medium. Exit code 3 is a rejection, 4 "could not be decided", 2 a question that cannot be asked,
// 1 a bug. What is not shown by a verification with --recorded: that the evidence is fresh.
//
// Standard output is the answer, standard error everything else.
package main
