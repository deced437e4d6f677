// Package imports reads reference values that others wrote: CoRIM (draft-ietf-rats-corim-11), the
// output of Nitro's image builder, and Keylime's policies for measured boot.
//
// What comes in are files, of which nothing is believed: lengths, counts and depths are bounded, and a
// CoRIM that is signed is read after its signature was verified by a key that the caller names. What is
// true of a Result: its Set is one that [measurements.Parse] reads, every value of it is proposed and
// matches nothing until somebody decides so, and whatever the file says besides stands in Left. A
// condition that reference values cannot express is never dropped from a value: the value would match
// more than its author meant. It is left out, unless the caller asks for parts. What is not shown is
// that a file without a signature comes from whom it names, that what it names is any good, or that
// there is no newer one.
package imports
