// Package attestwire has the documents that the two halves of the node attestor exchange through
// SPIRE: the agent's plugin on the node and the server's plugin beside attestd.
//
// An attestation has exactly these messages, each a JSON document of at most [MaxDocument] bytes:
//
//	node    Opening    what the node is, and the keys of its TPM
//	server  Challenge  attestd's signed challenge
//	node    Answer     evidence that answers it
//	server  Outcome    what came of it, with the client certificate for the node's plugins
//	node    Receipt    the node has it
//
// SPIRE then gets the agent's attributes. An Opening that holds a canary instead gets an error.
//
// What comes in: bytes from the other side. What is true where [Decode] returns no error: they are
// one such document and nothing else, in the sizes that [Document] states. What is not shown: that
// anything in it is true. Whoever is on the SPIRE side of a stream chose it.
package attestwire
