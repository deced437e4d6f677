// Package keysocket is how the plugins on a node use the agent's key, which the KeyManager alone
// has: the node attestor asks for the newest key, so that the evidence can name it, and hands in
// what attestd enlisted the key with; the workload attestor connects to attestd by it.
//
// What comes in: the folder in which the KeyManager listens. What is true where a call returns no
// error: the answer came from a process of the folder's user, in a folder that nobody else can
// enter or replace; a signature verifies under the key that was asked for; a certificate that was
// enlisted is over a key that the KeyManager held then. What is not shown: that the key lives in a
// TPM. A [Key] only says where its maker says that it put it; attestd believes the attestation
// key's certificate of it and nothing else.
//
// Each call has a connection of its own, so that a KeyManager that was started anew is found by the
// next call. Who is in another control group than the KeyManager is turned away, root in a container
// that the folder was mounted into among them. All other processes of one user are one party: whoever
// runs as the agent's user on the node can have the agent's key sign, here as in SPIRE itself.
package keysocket
