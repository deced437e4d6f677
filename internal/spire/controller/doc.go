// Package controller carries out in SPIRE what attestd orders: it bans agents, holds entries, makes
// agents attest again, mints identities for keys that evidence bound, and tells attestd what entries
// and agents there are.
//
// What comes in: orders of attestd over a link that it trusts (the daemon's own unix socket), and
// answers of SPIRE's server API. The controller never sees evidence and decides nothing.
//
// What is true when an order is reported as done: SPIRE said so. A ban is laid again every 20 ms for
// 30 s and read back after, since an attestation that was under way when the first was laid undoes
// it silently (SPIRE 1.15.3, pkg/server/api/agent/v1, AttestAgent: the ban is looked at before the
// SVID is signed, and the new serial number written without a look). Whatever undoes an order later
// is seen with the next poll, laid again and logged.
//
// What is not shown: that the holder of an SVID stopped using it, and that an agent that SPIRE does
// not know yet will not come: such an order stays open until the agent is there, and the node
// attestor and the composer refuse it until then. A hold on an entry speaks to honest agents: one
// that is hostile invents the selectors of its workloads.
//
// Its rights in SPIRE are those of docs/deploy/spire/attestd.rego and no more.
package controller
