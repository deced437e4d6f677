// Package claims holds the seal without which no Claims can be made.
//
// What is true: a Seal for which Granted returns true was made by Grant. A test of the module
// refuses an import of this package from anywhere but the root package and the packages below
// verifiers/, and Go refuses it to other modules, so Claims that carry a granted seal came out of a
// verifier. What is not shown: that the verifier is right.
package claims

// Seal is the right to make Claims. The zero Seal is not granted.
type Seal struct{ granted bool }

// Grant returns a granted seal. To be called by verifiers, behind their last check.
func Grant() Seal { return Seal{granted: true} }

// Granted reports whether the seal came from Grant.
func (s Seal) Granted() bool { return s.granted }
