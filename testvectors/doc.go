// Package testvectors loads published evidence, made by real hardware, from where it was published.
//
// What comes in are the records below manifest/, one small file per vector, embedded in this
// package, and the modules and folders they name. What is true of a [Vector] that [Load] returns: its
// bytes have the SHA-256 that its record pins, whatever the source sent. What is not shown: that the
// verdict of the record is right (the tests of this package show that, through every entry the
// product has).
//
// # A record
//
// A record is a text file of lines "key: value", each key at most once, no other lines. A file
// NAME.vector below manifest/FORMAT/ describes evidence, a file NAME.endorsement a certificate, a CRL
// or a signed document in JSON; both are known as FORMAT/NAME. A file NAME.log below manifest/logs/ describes a log of
// measurements, which nothing signed. An unknown key, a double key, a key that has no meaning for the
// kind of record, or a rejection without the check that must fail refuses the whole manifest.
//
//	format        the format's name; the folder must carry it (.vector only)
//	source        module MODULE@VERSION H1 PATH   a file of a Go module, h1 is its go.sum hash
//	              extra PATH                      a file of the folder of extra vectors
//	with          further files of the same module or folder, joined by spaces, for a step that joins
//	encoding      steps from the file to the bytes, joined by " | ":
//	                raw | hex | base64 | pem TYPE | txtar NAME | json FIELD.FIELD |
//	                literal N (the N-th quoted text of at least 1,000 base64 characters in a Go
//	                source file, counted from 1; adjacent quoted texts joined by + are one) |
//	                tsm-cbor (outblob, then auxblob) | slice OFFSET LENGTH
//	              steps for Intel's collateral, which leave what its service answers:
//	                combined tcb_info, combined qe_identity (a document and its signature out of the
//	                JSON that has a whole set of collateral) | escaped N (the N-th chain of a Go source
//	                file that has chains escaped as in a query)
//	              tdx-evidence (the container of a quote and its log, the quote cut at its end)
//	              steps that make the container of TPM evidence from what others publish:
//	                go-tpm-tools BANK (protobuf attest.Attestation, its quote over BANK, without the
//	                certificate) | go-tpm-tools-certificate BANK (with it; also takes its issuer) |
//	                go-attestation (JSON dump) | tpm2-tools (message, signature, PCR values,
//	                attestation key and its parent) | trustee-tpm (JSON)
//	sha256        of the bytes that the last step leaves, in hex
//	at            RFC 3339, the time at which the verdict holds
//	nonce         the freshness field, in hex; left out where the evidence has none
//	demand-nonce  a nonce to demand of the evidence, in hex; it need not be the evidence's own
//	trusted-ak    an attestation key that reference values name as trusted: SHA-256 of its DER
//	              SubjectPublicKeyInfo, in hex
//	key           the public key field in hex, where the evidence has one that is a DER
//	              SubjectPublicKeyInfo
//	endorsements  names of .endorsement records, joined by spaces
//	expect        accept, reject or undecided: the verdict under the policy "recorded" at that time
//	check         the check that fails; required unless expect is accept, refused if it is
//	claims        golden facts, name=value joined by "; ", the value as compact JSON without quotes
//	neg           numbers of the catalogue of negative cases that the record covers
//	log           boot (TCG event log), boot-sha1 (its old form), ccel or ima-ascii (.log only, with
//	              its own meaning of expect)
//	expect        replayed (the log leads to the registers that were published with it), parsed (none
//	              were), or refused
//	bank          of the registers: sha1, sha256 or sha384
//	registers     name=value joined by "; ", the value in hex
//	events        how many entries the log has; refused where it is refused
//	licence       SPDX identifier of the source's licence
//	comment       one line for people
package testvectors
