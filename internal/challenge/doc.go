// Package challenge issues the nonces that make evidence fresh, and takes them back once.
//
// What comes in is a wish (format, tenant, purpose, length) or a challenge that evidence claims to
// answer. What is true when Issue returns nil: the nonce is new from crypto/rand, is on disk before
// anyone sees it, and the reply is signed. What is true when Consume returns no Refusal: the
// challenge was ours, alive, for this tenant, purpose and format, and can never be used again. What
// is not shown: that evidence answers it.
package challenge
