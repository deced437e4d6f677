// Package promptid names prompts without telling what they say.
//
// What comes in is the text of a prompt, and where a tenant has one its key. What is true of an id: it
// follows from the text alone, so that all enforcement points that see the same prompt name it alike,
// however their systems write line ends, spaces and accents. With a key ("p1:") nobody without it can
// find the prompt by guessing, or tell that two tenants' prompts are the same. Without one ("s1:") both
// can be done: a prompt is short, and guessing is cheap. What is not shown: that the text holds nothing
// secret. Redact it first, with [Text.Redact]; then the id names the redacted prompt, and prompts that
// differ in what was taken out alone are one.
//
// # Form
//
// The canonical text is UTF-8, made in this order: Unicode Normalization Form C (UAX #15); CR LF, and CR
// by itself, become LF; runs of spaces (U+0020) and tabs become one space; spaces and LF are cut off
// both ends. Then each redacted part becomes its placeholder, a type in angle brackets as in <EMAIL>,
// and the last two steps are made again. An id is
//
//	"p1:" base32(HMAC-SHA-256(key, canonical text))
//	"s1:" base32(SHA-256(canonical text))
//
// in the alphabet of RFC 4648, section 6, in small letters and without padding. Vectors are in
// testdata/vectors.json.
package promptid
