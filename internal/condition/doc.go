// Package condition says what can be wrong with a running attestd. There is one closed list; doctor,
// status, readiness, metrics, alerts and the documentation are made from it.
//
// What comes in is what each part says of itself. What is true of what comes out: every condition of
// the list is in it, and one that nobody looked at, or that could not be looked at in time, is unknown
// and never well. What is not shown: that a part that calls itself well is.
package condition
