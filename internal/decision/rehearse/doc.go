// Package rehearse says what a policy set would have answered to questions that were asked already.
//
// What comes in are records of decisions, in any number, and a policy set that is not in force. What is
// true of a [Result]: every record that was added is counted in exactly one place; each that is said to be
// the same was judged again, whole, by the new set; what could not be judged again is counted as that, by
// the reason. What is not shown: what was not asked, what a caller would have asked next after another
// answer, and records that are not kept.
package rehearse
