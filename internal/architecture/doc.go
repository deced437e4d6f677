// Package architecture holds no code, only the tests that keep the shape of the module: imports run
// downwards, verifiers stay pure, and the seal of Claims stays where it belongs.
package architecture
