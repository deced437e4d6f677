// Package keymanager is the key manager of a SPIRE agent whose key the evidence names: it makes the
// agent's keys, in memory or in the node's TPM, signs with them for the agent, and tells the other
// plugins of the node through a [keysocket] which one is the newest.
//
// What comes in: the agent's calls, over a socket that host guards; those of the node's other
// plugins, over the key socket; the TPM's answers. What is true where a call returns no error: the
// key was made by this program, in this boot of the machine; a signature is by the key that was
// asked for, over a digest of the length that its hash has. A key in a TPM signs in the boot (the
// TPM's reset count) that it was made in, and in no other; a key in memory is gone when the agent
// is. Both are dropped when the kernel's boot id is another, as after kexec, which resets no TPM:
// an SVID that outlived a boot would speak for a machine that nobody has looked at since.
//
// What is not shown: that a key is in a TPM at all. The attestation key certifies it, in the
// evidence, and only attestd's verdict says so (grade resident). A virtual machine that is copied
// while it runs takes its boot id and its keys in memory along.
//
// The keys outlive this process: SPIRE never restarts a key manager and has no way to attest anew
// before its SVID's half-life, so a child that was killed must have its successor go on with the
// same keys. Those in a TPM are found again by their names, by the next agent of the same boot too;
// those in memory are handed on in memory that the supervisor holds, and end with the agent.
package keymanager
