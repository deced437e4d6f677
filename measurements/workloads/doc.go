// Package workloads holds the executables that have a name: reference values for what runs on a node,
// as opposed to the node itself.
//
// What comes in are documents that an operator wrote or reviewed. What is true if [Parse] and
// [NewIndex] return no error: every digest is a SHA-256, none is that of an empty file, none has two
// names within one tenant, and every name is in an alphabet that needs no escaping in a selector.
// What is not shown: that an executable of that digest is any good, which libraries, configuration or
// script it loads once it runs, or who wrote the document (it is not signed; keep it where you keep
// what you would not let others change). The digest of an interpreter names every script that it runs.
package workloads
