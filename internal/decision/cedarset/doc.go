// Package cedarset decides by policies in the Cedar language.
//
// What comes in is a folder: shared/*.cedar for every caller, tenants/TENANT/*.cedar for the callers of
// one tenant. What is true of a [Set]: every policy in it is well-typed by attestd's schema, has an id and
// nothing but known annotations, and speaks for the callers of its own folder; its digest is over every
// byte that it decides by. What is true of a ruling: every policy that could speak was asked, none that
// was asked failed, and one that forbids outweighs all that permit. What is not shown: that the policies
// are what somebody meant; cases say that (attestd policy test).
package cedarset
