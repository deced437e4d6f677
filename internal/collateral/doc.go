// Package collateral keeps what vendors publish beside evidence: revocation lists, intermediate CAs and
// the certificates of single machines. It is a folder that several processes share.
//
// What comes in are certificates and lists from files, from signed bundles, and from AMD's key
// distribution service (KDS), and evidence, of which nothing is believed: it only names a machine whose
// certificate may be looked for. What is true of what the store gives out: when it came in, its signature
// led to a root that is compiled in or that an operator named, and no list was ever replaced by one with
// a lower number or an earlier date, also after the list itself was deleted. What is not shown: that a
// list is current, which [Health] tells and verifiers judge each time, or that the disk is honest.
// Verifiers verify all of it again, and the floors with it.
//
// No address in evidence, in a certificate or in a bundle is ever read: [Fetcher] talks to one host that
// is compiled in, about numbers that it formats itself.
package collateral
