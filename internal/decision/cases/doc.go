// Package cases reads questions with the answers that are wanted, and asks policies.
//
// What comes in is a document of cases that people write, and a policy set. What is true of a case that
// was read: it has a name of its own, it wants one answer that there is, every key of it was understood,
// and what it does not say is that of [Question], which every gate lets through. What is true of one that
// passed: gates and policies together answered exactly so. What is not shown: that there are cases enough;
// which policies decided in none is for the caller to say.
package cases
