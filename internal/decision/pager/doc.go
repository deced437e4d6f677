// Package pager tells people, over webhooks, what attestd did or could not do to a caller:
// quarantined it, saw its risk spike, reached a cap.
//
// What comes in are grounds and their outcome. What is true of a page that arrives: its signature
// (a detached JWS, RFC 7515 appendix F, by the keys of purpose "page") covers the whole body with
// its time and an id that no other page has; it went to a configured https URL and to no other,
// whatever that URL answered. What is not shown: that a page arrives. The queue is bounded, tries
// end, and what was left out is counted and said with the next one; nothing else waits for a page.
package pager
