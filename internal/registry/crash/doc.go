// Package crash holds no code, only tests of registry and index together: that what many do at once
// agrees with one thing after another, and that what was acknowledged outlives a kill.
package crash
