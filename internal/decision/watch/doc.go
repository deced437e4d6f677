// Package watch limits callers by their risk, and sees what speaks against one while it asks:
// several tenants' data, much that is new for it, denials in a row, one credential in two places.
//
// What comes in are questions whose caller was identified, and what was decided about them. What is
// true of [Watch.Before]'s findings: the caller's limit, at its present tier, is not used up unless
// they say so, and they name each detector that fires at this question. What nobody was identified
// for counts against nobody: a bad token that names a subject moves nothing here. What is not
// shown: intent. A detector's word is a signal with points, whose strongest alone makes nobody's
// risk high.
//
// All of it is in memory and bounded. What is forgotten, over a restart or for room, is learned
// again; a limit that is used up is not forgotten for free: whoever takes a forgotten caller's
// place starts with its debt.
package watch
