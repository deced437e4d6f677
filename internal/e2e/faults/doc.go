// Package faults holds the fault matrix: each of seven layers (store, nonce, policy, collateral, audit,
// clock, signer) fails in each of six ways (error, timeout, slow, corrupt, partial, flap) under a whole daemon
// that is asked over its sockets. Whatever fails, nothing is accepted, granted or acknowledged that is
// not so, the answer names its class, nobody waits for ever, and when the fault ends it goes on by
// itself or, where the disk was changed behind its back, after a restart.
//
// The faults are real where the machine can have them: a limit on file sizes is a full disk, another
// process's transaction a store that hangs, a trigger in the database a table that fails or takes its
// time, bytes that were changed on the disk are those. The package has tests alone.
package faults
