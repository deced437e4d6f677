// Package signals takes reports against callers, from guardrails, scanners and endpoint agents, and
// turns them into risk that the next decision goes by.
//
// What comes in is a report of an enforcement point that was authenticated and has the right to
// give some: whom it is about, what was seen (a kind of [subject.Kinds], an OWASP or an ATLAS id),
// how sure it is, and the digest of what shows it. What is true of a [Receipt]: the signal is
// durable, the subject's epoch has risen where its risk did, and every decision whose state is read
// from then on counts it. What is not shown: that the report is so. Whoever reports has a cap on
// each subject, all of them together have one, points fade, and no source says anything of another
// tenant's subjects.
//
// Neither prompt nor output is taken: a report has no field for free text.
package signals
