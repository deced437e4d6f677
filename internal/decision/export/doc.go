// Package export gives records of decisions to the systems that a security team has already: OTLP logs
// and traces, OCSF events and CEF lines.
//
// What comes in are records that are on disk. What is true of what goes out: it has the same fields in
// each form ([Fields]), and none that the record has not. What is not shown: that anybody received it.
// Exports never keep a decision waiting: what a receiver does not take in time is dropped and counted,
// and the records are still there.
package export
