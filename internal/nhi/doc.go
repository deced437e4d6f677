// Package nhi is the inventory of non-human identities: who there is, whose, what for, and how far
// each may reach.
//
// What comes in is what people wrote (YAML, CSV, Kubernetes manifests) and what SPIRE has entries
// of. What is true of a [Record] that [Record.Check] found no fault with: its id, tenant, purpose,
// ring, zone and names have their one form, and lists are sorted without doubles. What is not
// shown: that any of it is so. A record grants nothing by itself: tenant and state come from
// attested hardware, and a record that says otherwise is a conflict that denies.
package nhi
