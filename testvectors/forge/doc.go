// Package forge makes evidence with certificate authorities of its own, shaped like the vendors', for
// everything that no published evidence shows: what must be refused, and formats of which no recorded
// document exists.
//
// What comes in are options that say what is to be wrong. What comes out verifies only where the
// authority's root is named as an insecure one: its keys are made anew for every authority, and no
// root of this package is known to any verifier. Nothing outside of tests and demonstrations imports
// this package.
package forge
