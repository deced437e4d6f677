// Package stage puts real parts together for programs that are no tests: software TPMs that booted,
// attestd, a SPIRE server and agents with attestd's plugins, and workloads that know the Workload API
// alone.
//
// What comes in is a folder, the programs, and what each part is configured with as an operator writes
// it. What is true where nothing returns an error: these processes run, answer, and end with the
// program that started them. What is not shown: anything about hardware, or about more than one host.
package stage
