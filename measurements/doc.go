// Package measurements holds Reference Values (RFC 9334, section 2): what evidence is expected to
// have measured, by name.
//
// What comes in are documents that an operator wrote or reviewed, and the registers and replayed events
// of verified claims. What is true if [Parse] returns no error: the document is whole, every digest has
// the length of its algorithm, none is empty or, where zero means "nothing was measured", zero, and no
// value is met by everything. What is true if [Index.Match] finds something: every register of one
// active or retiring value is equal in the claims, and of every register that its rules name each event
// meets a rule. What is not shown: that what was measured is any good, that registers which the value
// does not name are as they should be, or that events are what a log calls them beyond what their digest
// covers. Who wrote the document is what [Open] adds: one of the keys that the caller trusts signed its
// bytes, or the caller vouches for the file. A signature does not show that the document is the newest:
// whoever can put an older one in its place brings back what it allowed.
package measurements
