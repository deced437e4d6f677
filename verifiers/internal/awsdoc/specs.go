package awsdoc

import "github.com/attestd/attestd"

// Sources as checks cite them.
const (
	nsm = "AWS nitro-enclaves-nsm-api docs/attestation_process.md (13464bf)"
	// NitroTPMGuide is the user guide's page that specifies the document of an instance.
	NitroTPMGuide = "Amazon EC2 User Guide, Validate a NitroTPM Attestation Document"
)

// VerifyChecks returns the checks that [Engine.Verify] makes, in its order, with ids of format.
func VerifyChecks(format attestd.Format) []attestd.CheckSpec {
	id := func(name string) attestd.CheckID {
		return attestd.CheckID(string(format) + "/" + name)
	}
	inspect := "see what was sent: attestd inspect --format " + string(format) + " FILE"
	specs := append(encodingChecks(id, inspect), contentChecks(id, inspect)...)
	specs = append(specs, chainChecks(id, inspect)...)
	specs = append(specs, revocationChecks(id)...)
	specs = append(specs, bindingChecks(id, format)...)
	for index := range specs {
		specs[index].Stage = attestd.StageVerify
		specs[index].Rule = attestd.RuleNone
		if specs[index].Group == "" {
			specs[index].Group = attestd.GroupAuthenticity
		}
	}
	return specs
}

type idFunc func(name string) attestd.CheckID

func encodingChecks(id idFunc, inspect string) []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID:     id(checkSize),
			Proves: "the document is no longer than the longest that the format allows",
			Why:    "a document of megabytes costs memory and time before anything about it is known",
			Spec:   nsm + " section 3.1 (payload of 1 to 16384 bytes)",
			Hint:   "send the document as the device returned it, not base64, JSON or several at once",
			Class:  attestd.ClassTooLarge,
		}, {
			ID:     id(checkEnvelope),
			Proves: "the evidence is an untagged COSE_Sign1 array of four",
			Why:    "a second spelling of a document is a second name for it in every log and ledger",
			Spec:   "RFC 9052 section 4.2; " + nsm + " section 3.1",
			Hint:   "take the bytes as the device gave them, without a COSE tag; " + inspect,
			Class:  attestd.ClassMalformed,
		}, {
			ID:     id(checkHeader),
			Proves: "the signed header says ES384 and nothing else, and the unsigned header is empty",
			Why:    "whoever chooses the algorithm chooses the weakest; unsigned parameters are anybody's",
			Spec:   "RFC 9052 section 3; RFC 9053 section 2.1; " + nsm + " section 3.1",
			Hint:   "nothing may add headers on the way from the device; " + inspect,
			Class:  attestd.ClassMalformed,
		}, {
			ID:     id(checkEncoding),
			Proves: "the document is CBOR in one spelling: each known key once, nothing behind the end",
			Why:    "what one parser verifies another reads differently",
			Spec:   "RFC 8949 sections 4.2.1 and 5.6; " + nsm + " section 2.2",
			Hint:   "do not decode and encode the document again on its way; " + inspect,
			Class:  attestd.ClassMalformed,
		},
	}
}

func contentChecks(id idFunc, inspect string) []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID:     id(checkType),
			Proves: "the document has the register field of this format and not the other's",
			Why:    "both share one chain: an instance's registers would pass as an enclave's",
			Spec:   nsm + " section 2.2 (pcrs); " + NitroTPMGuide + " (nitrotpm_pcrs)",
			Hint:   "name the format that the document has: --format nitro or --format nitrotpm",
			Class:  attestd.ClassUnsupported,
		}, {
			ID:     id(checkFields),
			Proves: "every mandatory field is there and every field has a size that the format allows",
			Why:    "a missing certificate or register must never read as a check that has nothing to do",
			Spec:   nsm + " sections 3.2.2.1 and 3.2.2.2",
			Hint:   inspect,
			Class:  attestd.ClassMalformed,
		}, {
			ID:     id(checkDigest),
			Proves: "the registers are SHA-384 digests",
			Why:    "a register of a weaker hash can be made to equal a reference value",
			Spec:   nsm + " section 3.2.2.2 (digest)",
			Hint:   inspect,
			Class:  attestd.ClassUnsupported,
		}, {
			ID:     id(checkBundleSize),
			Proves: "the chain has at most 8 certificates of at most 1024 bytes, the root counted",
			Why:    "every certificate costs a verification: a long bundle is an attack on the verifier",
			Spec:   nsm + " section 2.2 (cert); the count is attestd's",
			Hint:   "published chains have 5 certificates; " + inspect,
			Class:  attestd.ClassTooLarge,
		},
	}
}

func chainChecks(id idFunc, inspect string) []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID:     id(checkCertificates),
			Proves: "every certificate is X.509 version 3 in DER",
			Why:    "a certificate that is not read whole cannot be held to its constraints",
			Spec:   "RFC 5280 section 4.1; " + nsm + " section 2.2",
			Hint:   inspect,
			Class:  attestd.ClassMalformed,
		}, {
			ID:     id(checkRoot),
			Proves: "the chain starts at the pinned AWS Nitro Enclaves root, byte for byte",
			Why:    "anybody can make a chain of their own and give its root AWS's name",
			Spec:   nsm + " sections 2.1 and 3.2.3; AWS Nitro Enclaves User Guide, Verifying the root of trust",
			Hint:   "GovCloud and China have other roots and are not supported; " + inspect,
			Class:  attestd.ClassChain,
		}, {
			ID:     id(checkKey),
			Proves: "every certificate has a P-384 key",
			Why:    "a key on a smaller curve signs more weakly than the header says",
			Spec:   "RFC 9053 section 2.1; FIPS 186-5 section 6.1.1",
			Hint:   inspect,
			Class:  attestd.ClassUnsupported,
		}, {
			ID:     id(checkValidity),
			Proves: "every certificate, the root included, is valid at the time judged",
			Why:    "a leaf lives 3 hours so that a document or key kept longer is worth nothing",
			Spec:   "RFC 5280 section 6.1.3 (a)(2); " + nsm + " section 3.2.3.1",
			Hint:   "ask for a fresh document; for an old one: attestd verify --recorded --at TIME FILE",
			Class:  attestd.ClassCertTime,
		}, {
			ID:     id(checkChain),
			Proves: "each certificate was issued by the one before it, within every CA's constraints",
			Why:    "a leaf that can issue, or a stranger in the bundle, lets anybody sign documents",
			Spec:   "RFC 5280 sections 4.2, 6.1.3 and 6.1.4; " + nsm + " sections 3.2.3.2 and 3.2.3.3",
			Hint:   "send cabundle as the device gave it, root first; " + inspect,
			Class:  attestd.ClassChain,
		}, {
			ID:     id(checkSignature),
			Proves: "the leaf's key signed exactly these bytes",
			Why:    "anybody could write a document",
			Spec:   "RFC 9052 section 4.4; RFC 9053 section 2.1; FIPS 186-5 section 6.4.2",
			Hint:   "the document was changed or cut on its way: ask the attester for it again",
			Class:  attestd.ClassSignature,
		},
	}
}

func bindingChecks(id idFunc, format attestd.Format) []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID: id(checkTimestamp),
			Proves: "the document was signed in its leaf's life time and not after the time judged; " +
				"where freshness is demanded, at most 5 minutes before it",
			Why:   "a document kept back would be good for as long as its leaf",
			Spec:  nsm + " section 2.2 (timestamp); age 5 min and skew 60 s are attestd's",
			Hint:  "compare the clocks, or ask for a fresh document; for an old one use --recorded --at TIME",
			Class: attestd.ClassStale,
		}, {
			ID:     id(checkNonce),
			Proves: "the nonce field equals the value demanded, in full length",
			Why:    "a recorded document of the same machine would pass as an answer to this challenge",
			Spec:   nsm + " section 2.2.2 (Nonce)",
			Hint:   "put the challenge's value into the nonce field: attestd verify --challenge FILE DOCUMENT",
			Class:  attestd.ClassBinding,
		}, {
			ID:     id(checkKeyBinding),
			Proves: "the public_key field is the key demanded, as DER SubjectPublicKeyInfo",
			Why:    "a genuine document would vouch for a key that somebody else holds",
			Spec:   nsm + " section 2.2.2 (Public Key)",
			Hint: "ask the device for a document with the key's SPKI: attestd verify --key SPKI.pem" +
				" --format " + string(format) + " FILE",
			Class: attestd.ClassBinding,
		},
	}
}
