// Package agentattestor is the SPIRE agent's half of the node attestor: it collects evidence on its
// machine for a challenge of attestd's and hands it in through the SPIRE server.
//
// What comes in: the challenge, over SPIRE's connection to its server. What is true of evidence
// that leaves: the challenge is of the trust domain, the format and the tenant in this machine's
// own configuration and is not over, and with key_binding = "required" the evidence binds the
// newest key of attestd's key manager, which is the one that the agent's X509-SVID is to be for.
// What is not shown: that the machine is sound. Only attestd shows that, and the node learns its
// answer from SPIRE.
//
// The key is asked for over a unix socket in a folder that only the agent's user can enter. An
// agent whose key manager is another program cannot bind its key; it must say so with key_binding =
// "none", and attestd then gives it the grade "none".
//
// What needs no challenge (the TPM's keys, the agent's key) is had before the first message leaves,
// so that SPIRE and attestd wait only for the machine's quote.
//
// A SEV-SNP report names a chip and a boot, a TDX quote a platform, and none of these is an instance
// that an agent id may be made from. Alone such evidence is judged and then refused an id, unless
// attestd knows the guest by something else. With its TPM (format = "composite") it is known by that.
package agentattestor
