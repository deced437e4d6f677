// Package daemon is attestd serve: it puts the parts together in the order in which each can rely on
// the one before, listens, and takes them down again.
//
// What is true when the Ready function of its options is called: the configuration held no problem,
// the store is this process's alone and takes durable writes, policies and reference values were
// read, the judge rejected a self-test, and every listener is bound. What is not shown: that
// collateral is fresh, or that anybody can reach the listeners.
package daemon
