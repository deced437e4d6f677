// Package enrol says whose a machine is. Genuine hardware is not yet ours: anyone can start a
// published image on a genuine chip. What comes in are the names that verified evidence gives
// ([Keys]), the lists, approvals and one-time tokens of operators ([Desk]), and the rows that the
// registry keeps. What is true of a machine that [Settle] calls owned: an operator's list, approval,
// rule or token names a key of it, for one tenant alone, and nobody has denied it.
//
// The tenant follows from ownership and never from a request. What is not shown here: that the
// evidence is authentic and fresh (the judge's matter), or that the operator's list is right.
package enrol
