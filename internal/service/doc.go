// Package service is what attestd does for those who ask it over a network: it issues challenges,
// has evidence judged against them, and keeps the verdicts.
//
// What comes in are requests whose encoding was checked by an edge (package api). What is true when
// Verify returns an Appraisal that is accepted: a challenge of ours for this tenant, format and
// purpose was alive, was consumed by this request and by no other, before the evidence was looked
// at, and the [Judge] accepted the evidence as bound to it. What is not shown: who the caller is (the
// edge's matter), and whose hardware it was.
package service
