// Package swtpm runs real software TPMs (the programs swtpm and swtpm_setup) for tests and for the
// demo.
//
// What comes in is a folder. What is true of a [TPM] that [CA.Manufacture] returns: it was made as a
// maker of TPMs makes them, with an endorsement key at 0x81010001, a certificate for it at 0x01c00002
// that swtpm's own CA signed, and active banks of SHA-256 and SHA-384. What is not shown: anything
// about hardware. Whoever can read the state folder owns every key in it, so no verifier may trust
// this CA unless it was told to by --insecure-roots.
//
// On Linux no process outlives the one that started it: the kernel ends each TPM with the thread that
// waits for it (prctl(2), PR_SET_PDEATHSIG), so a panic or an interrupt leaves nothing behind.
package swtpm
