// Package strict reads the two encodings in which untrusted input arrives, CBOR and JSON, and accepts
// one spelling of each value only.
//
// What comes in: bytes that an attacker chose. What is true where a reader returned no error: every
// length fits the input, integers and lengths are in their shortest form, there are no tags, no
// indefinite lengths (but for a map that was read by [CBOR.OpenMap]), no invalid UTF-8; for
// JSON also no duplicate key at any level, no unknown key, no key in another case, and nothing behind
// the value. What is not shown: that a value makes sense to whoever reads it, and, for CBOR, that map
// keys are unique: [CBOR] is a cursor without memory, so its caller keeps the set of keys it has seen.
//
// An attacker who finds two parsers that read one document differently gets it verified by the one
// and used by the other; that is what the strictness is for.
package strict
