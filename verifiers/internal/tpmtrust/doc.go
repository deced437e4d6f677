// Package tpmtrust says who vouches for the keys of a TPM, and makes the credential with which a
// TPM shows that two keys are its own.
//
// What comes in: certificates and CRLs that an attacker chose, public areas that were read
// strictly, and the time. What is true where [Store.Endorsement] returned no fault: the
// certificate chains to a root that is compiled in (or was loaded by hand: then Insecure says so),
// every CA of the chain is valid at the time, none is on a CRL that was given, and the certificate
// is an EK certificate as the "TCG EK Credential Profile for TPM Family 2.0", level 0, revision
// 2.5, demands: the issuer says that this key is the endorsement key of one of its TPMs. Where
// [Store.AttestationKey] returned no fault: a cloud said that this key is the attestation key of
// one of its virtual TPMs.
//
// What is not shown: that whoever sent the certificate has the key (credential activation shows
// that), that the TPM is healthy, and, for a cloud's certificate, anything about hardware: such a
// TPM is the cloud's software. A CRL that nobody sent revokes nothing: [EK.CRL] says how much was
// covered.
package tpmtrust
