// Package operator knows the people and programs that run attestd: who they are, what they may do,
// and for which tenants.
package operator
