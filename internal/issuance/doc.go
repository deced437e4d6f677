// Package issuance decides which identities SPIRE may issue, and says what it must hold back.
//
// What comes in: evidence of nodes on its way to the verifier ([Office.Begin], [Office.Finish]),
// questions of SPIRE's credential composer ([Office.Grant]), the entries and agents that SPIRE has
// ([Office.SetMap]), and, through the index, every state that the registry published. What is true of
// a grant: the id was under no hold, every node that was counted as entitled to it was trusted, owned,
// accepted and not overdue, and the grant was counted against the id and those nodes in the same step
// in which their states were read. So after a hold has been acknowledged no grant rests on what is
// held, save those that the acknowledgement counts. A node's own SVID is granted for the key alone that
// its evidence bound, within a minute of it.
//
// What composers go on by while they do not reach attestd ([Office.Holdover]) is such a grant for each id
// in it, until its end; where [Config] says nothing of it there is none.
//
// What is not shown: which of several nodes asked (SPIRE does not tell), that what was granted is used
// before it ends, or that SPIRE's answer reaches only whom it should. Tickets are in memory: after a
// restart nodes attest again.
package issuance
