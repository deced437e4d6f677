// Package composite verifies the evidence of several devices of one machine behind one nonce.
//
// What comes in: the container of package compositeevidence with the evidence of a confidential
// machine's processor and of its TPM, endorsements for both, a time, a demand, and what the verifier's
// own side knows from before.
//
// What is true when Verify returns Claims: the devices are exactly those that the table of roles asks
// for, each once; each device's evidence passed every check of the verifier of its own format; and where
// freshness or a key was demanded, each device answered the value that [attestd.DeviceFreshness]
// derives for it from the one root, so that no device's evidence was made for another question, for
// another device or on its own.
//
// What is not shown: that the devices are in one machine. That they answered one question at one time
// is what an edge of grade "simultaneous" says, and two machines that work together can do that too:
// see docs/verifiers/composite.md. Whether a device's claims are good enough is appraised device by
// device, by the rules of its own format.
package composite
