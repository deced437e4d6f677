// Package registrytest is what every store of subjects must pass: SQLite's does, and so will one on
// PostgreSQL. It asks through [Store] alone and looks into no file.
//
// What a store that passes has shown: writes are compared before they are carried out and are whole,
// no hold is missed by what is written after it, nothing revoked comes back, one token enrols once,
// lists show nobody another tenant's rows, what is published is what was committed, and the audit log
// grows in the transactions of what it records. What is not shown: that a write outlives a loss of
// power, and how fast it is.
package registrytest
