// Package collateral keeps what vendors publish beside evidence: revocation lists, intermediate CAs, the
// certificates of single machines, and Intel's TCB information and identities of enclaves. It is a folder
// that several processes share.
//
// What comes in are certificates, lists and documents from files, from signed bundles, from AMD's key
// distribution service (KDS) and from Intel's provisioning certification service (PCS) or a PCCS that the
// operator named, and evidence, of which nothing is believed: it only names a machine or a platform about
// which something may be looked for. What is true of what the store gives out: when it came in, its signature
// led to a root that is compiled in or that an operator named, and no list was ever replaced by one with
// a lower number or an earlier date, and no document by one with a lower evaluation number or, with the
// same, an earlier date, also after it was itself deleted. Intel's two channels are two memories.
// What is not shown: that a list or document is current, which [Health] tells and verifiers judge each
// time, or that the disk is honest. Verifiers verify all of it again, and the floors with it.
//
// No address in evidence, in a certificate or in a bundle is ever read: [Fetcher] talks to hosts
// that are compiled in or configured, about numbers that it formats itself.
package collateral
