// Package why says what stands between a subject and an identity: the steps in their order, the first
// that is missing, and what to do about it.
//
// What comes in is what the registry and the index of states say at one moment. What is true of an
// answer: Granted is what the index would say to a grant, and where steps and index disagree nothing
// is promised. Nothing of a tenant that the asker may not see is in it: such a machine looks like one
// that nobody has ever seen. What is not shown: that it will still be so when a grant is asked for.
package why
