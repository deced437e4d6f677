// Package desk is where operators look after the inventory: they take up records, retire and remove
// them, and ask what is wrong with it.
//
// What comes in is what an operator, who was let in, asks. What is true of everything that is
// written: each record has no fault, is of a tenant that the operator may act for and that there
// is, was not changed by somebody else since it was looked at, and is in the audit log. What is
// true of everything that is answered: it is of tenants that the operator may see; records of
// others and records that are not there are answered alike. What is not shown: that a record is so.
// Who writes the first record of an identity that no hardware stands behind yet can name a wrong
// tenant; such a record conflicts with the hardware when that is attested, denies until it is
// mended, and whoever acts for all tenants sees it in lint.
package desk
