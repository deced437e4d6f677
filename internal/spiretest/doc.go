// Package spiretest runs the real SPIRE server and agent, as .ci/spire built them, with attestd's
// binaries, software TPMs and workloads that use nothing but the Workload API.
//
// What comes in is a configuration of each part as an operator writes it. What is true of a test that
// passes: these programs did it, over their own sockets, and nothing stood in for SPIRE. What is not
// shown: anything about hardware, other versions of SPIRE, or more than one host; agents of one test
// share this host and differ in their folders, sockets and TPMs.
//
// The package is a module of its own: what only tests ask of SPIRE's API stays out of the releases.
package spiretest
