// Package fuzz holds the fuzz target of the HTTP edge. It is a package of its own, with a store in
// memory, because fuzzing compiles everything it links once more with counters, and SQLite would be
// most of that.
//
// What is shown: whatever bytes come as a body, there is an answer of a known kind, and evidence that
// nobody signed is not accepted. What is not shown: anything about the store.
package fuzz
