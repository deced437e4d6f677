// Package interop holds attestd's results, API and reference values against programs that others
// wrote for the same standards. It is a module of its own: what they depend on is not in the product.
package interop
