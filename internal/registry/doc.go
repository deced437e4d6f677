// Package registry is the store of attestd, on SQLite: challenges that wait for their evidence,
// appraisals that were given, and attestation keys that answered a credential.
//
// What is true when Consume answers Consumed: the challenge was alive by the clock of this store,
// was issued for exactly this tenant, purpose and format, and the row that says "used" is on disk;
// no other call has had, or will ever have, the same answer for it. What is true of the state of an
// attestation key: it never goes back, it stands under one endorsement key and that under one tenant,
// and it moves with the verdict that showed it or not at all. What is true when a write returns nil:
// it was committed with synchronous=FULL and outlives a loss of power. What is not shown: that
// evidence answers the challenge (the judge's matter).
//
// All writes go through one goroutine that commits together what arrived during the last commit, so
// that the price of a durable write is shared under load and nobody waits for a timer without it.
package registry
