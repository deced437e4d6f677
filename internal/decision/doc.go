// Package decision says whether a caller may do something now: who asks, what it wants, and whether
// policy allows that combination.
//
// What comes in is a question of an enforcement point that was authenticated ([Ask]), with the caller's
// credential. What is true of an answer that allows: the credential was verified, the caller's state was
// read after the question came and nothing is held against it, its evidence is fresh, its tenant follows
// from owned hardware, every proof was made, a policy permits and none forbids or failed, the answer was
// given within its deadline, and a record of it is on its way to disk. What is not shown: that the
// enforcement point does as it is told.
//
// [Judge] is the part without a clock, a network or a store: the same [Input] and the same policies give
// the same [Result], so a stored input is a decision that can be made again.
package decision
