// Package revocation carries out quarantines, releases and revocations: those that people order, those
// that attestd lays by itself within its caps, and those that go round a store that is down.
//
// What is true when an order returns without an error: its bars are durable and effective, no grant is
// given against them from then on, and the grants given before are counted in the receipt. A direct
// order is effective and in a journal on disk, and becomes durable in the store as soon as that can be
// written. What is not shown: that credentials which were given before are no longer used.
package revocation
