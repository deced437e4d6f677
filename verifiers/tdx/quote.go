package tdx

import (
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Sizes of a quote's parts (Intel TDX DCAP rev 0.9, appendix A.3 and A.4).
const (
	headerSize     = 48
	descriptorSize = 6 // version 5: type and size of the body
	body10Size     = 584
	body15Size     = 648
	signatureSize  = 64
	keySize        = 64
	qeReportSize   = 384
	tdReportSize   = 1024 // a TDREPORT, which is no quote
)

// Types of a version 5 body.
const (
	bodySGX = 1
	body10  = 2
	body15  = 3
)

// Offsets in a TD report body. The first 584 bytes are the same in TDX 1.0 and 1.5.
const (
	offTEETCBSVN     = 0
	offMRSEAM        = 16
	offMRSignerSEAM  = 64
	offSEAMAttribute = 112
	offTDAttributes  = 120
	offXFAM          = 128
	offMRTD          = 136
	offMRConfigID    = 184
	offMROwner       = 232
	offMROwnerConfig = 280
	offRTMR          = 328
	offReportData    = 520
	offTEETCBSVN2    = 584
	offMRServiceTD   = 600
)

// registerSize is that of a measurement: SHA-384.
const registerSize = 48

// Offsets in the report of an SGX enclave (Intel SDM volume 3D, section 39.15).
const (
	offQECPUSVN     = 0
	offQEMiscSelect = 16
	offQEAttributes = 48
	offQEEnclave    = 64
	offQESigner     = 128
	offQEProdID     = 256
	offQESVN        = 258
	offQEReportData = 320
)

// quote is a quote whose lengths all agree. Its slices are parts of the evidence.
type quote struct {
	version uint16
	// signed is what the attestation key signs: header and body.
	signed []byte
	// body has body10Size or body15Size bytes.
	body []byte
	// signature is R || S over signed.
	signature []byte
	// enclave is everything behind it: attestation key, enclave's report, certificates. It is the same
	// in every quote of a machine until its quoting enclave is set up anew.
	enclave []byte
	// key is the attestation key, X || Y.
	key []byte
	// qeReport is the report of the quoting enclave, qeSignature the PCK's signature over it, qeAuth what
	// the enclave hashed beside the key.
	qeReport, qeSignature, qeAuth []byte
	// chain is the PEM text of PCK, CA and root.
	chain []byte
}

var vendorIntel = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3,
	0x95, 0x7f, 0x06, 0x07}

const wantSize = "a TD quote"

// parseQuote reads a quote. Padding says whether zeros may follow it: quoting services fill their
// buffers with them. Anything else behind it would be bytes that nobody signed.
func parseQuote(t *trail.Trail, raw []byte, padding bool) (*quote, *fault) {
	const least = headerSize + body10Size + 4
	switch {
	case len(raw) == tdReportSize && raw[0] == teeTDX && raw[1] == 0:
		// The type of a report structure (REPORTTYPE) is 0x81 where a quote has its version.
		return nil, refuse(checkSize, "a TDREPORT of 1024 bytes, which only its own machine can verify",
			wantSize)
	case len(raw) < least:
		return nil, refuse(checkSize, fmt.Sprintf("%d bytes", len(raw)), wantSize)
	case len(raw) > limits.quote:
		return nil, refuseAs(checkSize, attestd.ClassTooLarge, fmt.Sprintf("a quote of %d bytes", len(raw)),
			fmt.Sprintf("at most %d bytes", limits.quote))
	}
	t.Pass(checkSize, wantSize, wantSize)
	q := &quote{version: binary.LittleEndian.Uint16(raw)}
	if bad := q.header(t, raw); bad != nil {
		return nil, bad
	}
	rest, bad := q.readBody(t, raw)
	if bad != nil {
		return nil, bad
	}
	if bad := q.readSignature(rest, padding); bad != nil {
		return nil, bad
	}
	t.Pass(checkLayout, wantLayout, wantLayout)
	return q, nil
}

// teeTDX is the TEE type of TDX; SGX has 0.
const teeTDX = 0x81

// Values of a header that this verifier knows.
const (
	wantVersion = "version 4 or 5"
	wantTEE     = "TEE type 0x81 (TDX)"
	wantKeyType = "attestation key type 2 (ECDSA P-256)"
	wantVendor  = "Intel's quoting enclave"
)

func (q *quote) header(t *trail.Trail, raw []byte) *fault {
	if q.version != 4 && q.version != 5 {
		return refuse(checkVersion, fmt.Sprintf("version %d", q.version), wantVersion)
	}
	t.Pass(checkVersion, "a known version", wantVersion)
	if tee := binary.LittleEndian.Uint32(raw[4:]); tee != teeTDX {
		return refuse(checkTEE, fmt.Sprintf("TEE type 0x%x", tee), wantTEE)
	}
	t.Pass(checkTEE, wantTEE, wantTEE)
	if kind := binary.LittleEndian.Uint16(raw[2:]); kind != 2 {
		return refuse(checkKeyType, fmt.Sprintf("attestation key type %d", kind), wantKeyType)
	}
	t.Pass(checkKeyType, wantKeyType, wantKeyType)
	if [16]byte(raw[12:28]) != vendorIntel {
		return refuse(checkVendor, fmt.Sprintf("vendor %x", raw[12:28]), wantVendor)
	}
	t.Pass(checkVendor, wantVendor, wantVendor)
	return nil
}

const wantBody = "a TD report body of TDX 1.0 (584 bytes) or 1.5 (648 bytes)"

// readBody reads the body and returns what follows it.
func (q *quote) readBody(t *trail.Trail, raw []byte) ([]byte, *fault) {
	at, size := headerSize, body10Size
	if q.version == 5 {
		kind := binary.LittleEndian.Uint16(raw[headerSize:])
		stated := binary.LittleEndian.Uint32(raw[headerSize+2:])
		at += descriptorSize
		switch {
		case kind == bodySGX:
			return nil, refuseAs(checkBody, attestd.ClassUnsupported, "the report of an SGX enclave",
				wantBody)
		case kind == body10 && stated == body10Size:
		case kind == body15 && stated == body15Size:
			size = body15Size
		case kind == body10 || kind == body15:
			return nil, refuse(checkBody, fmt.Sprintf("a body of type %d with %d bytes", kind, stated),
				wantBody)
		default:
			return nil, refuseAs(checkBody, attestd.ClassUnsupported, fmt.Sprintf("a body of type %d", kind),
				wantBody)
		}
	}
	if len(raw) < at+size {
		return nil, refuse(checkBody, fmt.Sprintf("a body that ends after %d bytes", len(raw)-at), wantBody)
	}
	t.Pass(checkBody, "a known body", wantBody)
	q.signed, q.body = raw[:at+size:at+size], raw[at:at+size:at+size]
	return raw[at+size:], nil
}

const wantLayout = "lengths that use up the quote"

// readSignature reads the signature data: a signature, a key, and certification data of type 6 (the
// enclave's report) around certification data of type 5 (certificates). Each length must be exactly
// what its surroundings leave.
func (q *quote) readSignature(rest []byte, padding bool) *fault {
	lying := func(what string, got, want uint64) *fault {
		return refuse(checkLayout, fmt.Sprintf("%s of %d bytes where there are %d", what, got, want),
			wantLayout)
	}
	if len(rest) < 4 {
		return refuse(checkLayout, "a quote that ends in front of its signature", wantLayout)
	}
	size := uint64(binary.LittleEndian.Uint32(rest))
	rest = rest[4:]
	if size > uint64(len(rest)) || size < signatureSize+keySize+6 {
		return lying("signature data", size, uint64(len(rest)))
	}
	if behind := rest[size:]; len(behind) != 0 && (!padding || !allZero(behind)) {
		// Nobody signed what stands there: one quote would have as many digests as somebody likes.
		return refuse(checkLayout, fmt.Sprintf("%d bytes behind the quote", len(behind)), wantLayout)
	}
	rest = rest[:size:size]
	q.signature, q.enclave, rest = rest[:signatureSize], rest[signatureSize:], rest[signatureSize:]
	q.key, rest = rest[:keySize], rest[keySize:]

	rest, bad := certification(rest, 6)
	if bad != nil {
		return bad
	}
	if len(rest) < qeReportSize+signatureSize+2 {
		return refuse(checkLayout, fmt.Sprintf("enclave data of %d bytes", len(rest)), wantLayout)
	}
	q.qeReport, rest = rest[:qeReportSize], rest[qeReportSize:]
	q.qeSignature, rest = rest[:signatureSize], rest[signatureSize:]
	auth := int(binary.LittleEndian.Uint16(rest))
	rest = rest[2:]
	if auth > len(rest) {
		return lying("authentication data", uint64(auth), uint64(len(rest))) //nolint:gosec // 16 bits
	}
	q.qeAuth, rest = rest[:auth], rest[auth:]
	q.chain, bad = certification(rest, 5)
	return bad
}

// certification reads certification data of the type, which must use up data.
func certification(data []byte, want uint16) ([]byte, *fault) {
	if len(data) < 6 {
		return nil, refuse(checkLayout, fmt.Sprintf("certification data of %d bytes", len(data)), wantLayout)
	}
	kind, size := binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint32(data[2:])
	if kind != want {
		// Types 1 to 4 name a PCK by its platform's secret id: whoever verifies would have to fetch it.
		return nil, refuseAs(checkLayout, attestd.ClassUnsupported,
			fmt.Sprintf("certification data of type %d", kind), fmt.Sprintf("type %d", want))
	}
	if uint64(size) != uint64(len(data)-6) {
		return nil, refuse(checkLayout, fmt.Sprintf("certification data of %d bytes where there are %d", size,
			len(data)-6), wantLayout)
	}
	return data[6:], nil
}

// tdx15 reports whether the body is one of TDX 1.5.
func (q *quote) tdx15() bool { return len(q.body) == body15Size }

// register returns a field of SHA-384's size at the offset.
func (q *quote) register(offset int) []byte { return q.body[offset : offset+registerSize] }

// rtmr returns runtime measurement register 0 to 3.
func (q *quote) rtmr(index int) []byte { return q.register(offRTMR + index*registerSize) }

func (q *quote) reportData() []byte { return q.body[offReportData:offTEETCBSVN2] }

// teeTCBSVN returns the security versions of module and loader at the TD's launch: index 0 is the
// module's minor SVN, 1 its major version, 2 the SVN of the loader.
func (q *quote) teeTCBSVN() [16]byte { return [16]byte(q.body[offTEETCBSVN:]) }

// teeTCBSVN2 returns the same of what runs now; false in bodies of TDX 1.0, which have it not.
func (q *quote) teeTCBSVN2() ([16]byte, bool) {
	if !q.tdx15() {
		return [16]byte{}, false
	}
	return [16]byte(q.body[offTEETCBSVN2:]), true
}

func (q *quote) mrSignerSEAM() [registerSize]byte {
	return [registerSize]byte(q.register(offMRSignerSEAM))
}

func (q *quote) seamAttributes() [8]byte { return [8]byte(q.body[offSEAMAttribute:]) }

func (q *quote) tdAttributes() uint64 { return binary.LittleEndian.Uint64(q.body[offTDAttributes:]) }

func (q *quote) xfam() uint64 { return binary.LittleEndian.Uint64(q.body[offXFAM:]) }

// Fields of the quoting enclave's report, as identities of enclaves compare them.

func (q *quote) qeMiscSelect() [4]byte { return [4]byte(q.qeReport[offQEMiscSelect:]) }

func (q *quote) qeAttributes() [16]byte { return [16]byte(q.qeReport[offQEAttributes:]) }

func (q *quote) qeSigner() [32]byte { return [32]byte(q.qeReport[offQESigner:]) }

func (q *quote) qeProdID() uint16 { return binary.LittleEndian.Uint16(q.qeReport[offQEProdID:]) }

func (q *quote) qeSVN() uint16 { return binary.LittleEndian.Uint16(q.qeReport[offQESVN:]) }

func allZero(data []byte) bool {
	for _, one := range data {
		if one != 0 {
			return false
		}
	}
	return true
}
