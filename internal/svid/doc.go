// Package svid gives identities without an agent: whoever shows evidence that binds a key is issued
// an X509-SVID over that key, or a JWT-SVID that names it.
//
// What comes in are requests whose encoding was checked by an edge (package api). What is true of a
// [Document]: evidence that answered a challenge of ours for this purpose was accepted and bound
// the key; the machine is somebody's, trusted and not held; SPIRE had an entry below the tenant's
// parent for identities without an agent, all of whose selectors the evidence showed; and SPIRE
// minted the credential for that entry's id and that key, for minutes, in the same step in which
// attestd counted it. An X509-SVID names the id that the request itself, signed by the key, names.
//
// What is not shown: that the audience of a JWT-SVID, or which of several entries, is the key
// holder's wish: a relay can ask for others, and gets a token that is worth nothing without the
// key. Nor that a relay reads nothing, unless the evidence was made for [EncryptedPurpose]; and not
// even then that the answer is attestd's: to encrypt takes a public key. Roots in it are worth what the
// way to attestd is worth.
package svid
