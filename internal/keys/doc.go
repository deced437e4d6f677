// Package keys keeps the keys that attestd signs for others with: one ring for each purpose, so that a
// signature of one kind can never be taken for one of another, and so that the loss of one key ends one
// thing.
//
// What comes in are a folder of this machine's and what is to be signed. What is true of a signature
// that [Ring.SignJWT] gave: the key was in the published set when it was given and had not been
// withdrawn, the signature was verified with the public half before it was given, and a record of it
// was durable in the [Ring]'s ledger by then. What is true of the set that [Ring.JWKS] gives: it has
// the key that signs next since at least [MaxAge] before it signs, except after a compromise; it has
// each earlier key until everything that it signed has ended, and none that was withdrawn. What is not
// shown: that nobody else read a private key, or how soon others fetch the set again.
//
// A private half is destroyed as soon as its key signs no more: what is stolen from the folder later
// signs nothing that is believed.
package keys
