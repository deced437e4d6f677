// Package registry is the store of attestd, on SQLite: challenges that wait for their evidence,
// verdicts with the evidence they stand on, attestation keys that answered a credential, subjects with
// their states and what holds them, who owns which machine, operators, and the audit log.
//
// What is true when Consume answers Consumed: the challenge was alive by the clock of this store,
// was issued for exactly this tenant, purpose and format, and the row that says "used" is on disk;
// no other call has had, or will ever have, the same answer for it. What is true of the state of an
// attestation key: it never goes back, it stands under one endorsement key and that under one tenant,
// and it moves with the verdict that showed it or not at all.
//
// What is true when Write or Keep returns nil: all of it was carried out in one transaction, with its
// records in the audit log; nothing that it was decided upon had changed; no key of what became trusted
// was held; no state moved in a way that the table of transitions does not have; and the index has it,
// so that no grant is given against it any more. What is true when any write returns nil: it was
// committed with synchronous=FULL and outlives a loss of power. A write that failed may nevertheless be
// found carried out when the store is next opened, as with every database; it is never published
// before it was committed. What is not shown: that evidence answers the challenge (the judge's matter),
// or that who asks may ask (the matter of whoever serves it).
//
// All writes go through one goroutine that commits together what arrived during the last commit, so
// that the price of a durable write is shared under load and nobody waits for a timer without it. What
// may refuse a write comes before what it changes, so that a refusal costs the others in its
// transaction nothing. Below the reserve of free space only holds and records are written.
//
// A database that is older than what this machine has seen is not opened without an operator's word
// (see guard), nor is one that another process has open, one whose tables are not those of its version,
// or one of a newer version. Versions N and N-1: an update brings the tables up in one transaction and
// leaves every row of the version before what it was; to go back, stop attestd, put back the copy of the
// folder from before the update, and confirm it once with store.accept_rollback. A migration that the
// version before could not work with needs two versions: the first writes both forms, the second
// removes the old one.
package registry
