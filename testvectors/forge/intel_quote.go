package forge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// Sizes of a TD quote ("Intel TDX DCAP: Quote Generation Library and Quote Verification Library",
// revision 0.9, appendix A.3 and A.4).
const (
	TDHeaderSize = 48
	TDBody10Size = 584
	TDBody15Size = 648
	QEReportSize = 384
	// TDBody10 and TDBody15 are the types of a version 5 body.
	TDBody10 = 2
	TDBody15 = 3
)

// IntelVendor is the vendor id of Intel's quoting enclave.
var IntelVendor = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3,
	0x95, 0x7f, 0x06, 0x07}

// TDQuote are the fields of a quote's header and body. NewTDQuote gives one that every policy could
// accept; whatever has no field is changed in the bytes of TDParts.
type TDQuote struct {
	Version, KeyType uint16
	TEE              uint32
	// HeaderSVN are the four bytes that are the SVNs of QE and PCE in version 4, reserved in 5.
	HeaderSVN [4]byte
	Vendor    [16]byte
	UserData  [20]byte
	// BodyType is written in version 5 alone: TDBody10 or TDBody15.
	BodyType uint16

	TEETCBSVN                                [16]byte
	MRSEAM, MRSignerSEAM                     [48]byte
	SEAMAttributes, TDAttributes, XFAM       uint64
	MRTD, MRConfigID, MROwner, MROwnerConfig [48]byte
	RTMR                                     [4][48]byte
	ReportData                               [64]byte
	// TEETCBSVN2 and MRServiceTD are in bodies of TDX 1.5 alone.
	TEETCBSVN2  [16]byte
	MRServiceTD [48]byte

	QE QEReport
	// Auth is the quoting enclave's authentication data.
	Auth []byte
}

// QEReport are the fields of the quoting enclave's report.
type QEReport struct {
	CPUSVN     [16]byte
	MiscSelect uint32
	Attributes [16]byte
	MREnclave  [32]byte
	MRSigner   [32]byte
	ProdID     uint16
	SVN        uint16
	// Data replaces SHA-256(key || auth) || zeros where it is not nil.
	Data *[64]byte
}

// QESigner is the MRSIGNER of Intel's quoting enclaves.
var QESigner = [32]byte{
	0xdc, 0x9e, 0x2a, 0x7c, 0x6f, 0x94, 0x8f, 0x17, 0x47, 0x4e, 0x34, 0xa7, 0xfc, 0x43, 0xed, 0x03,
	0x0f, 0x7c, 0x15, 0x63, 0xf1, 0xba, 0xbd, 0xdf, 0x63, 0x40, 0xc8, 0x2e, 0x0e, 0x54, 0xa8, 0xc5,
}

// NewTDQuote returns a good quote of the version, 4 or 5; one of version 5 is of TDX 1.5.
func NewTDQuote(version uint16) TDQuote {
	out := TDQuote{
		Version: version, KeyType: 2, TEE: 0x81, Vendor: IntelVendor, BodyType: TDBody15,
		TEETCBSVN: [16]byte{6, 1, 3}, TEETCBSVN2: [16]byte{6, 1, 3},
		TDAttributes: 1 << 28, XFAM: 0x602e7,
		QE: QEReport{
			CPUSVN:     [16]byte{3, 3, 25, 27, 4, 255, 0, 6},
			Attributes: [16]byte{0: 0x15, 8: 0xe7}, MRSigner: QESigner, ProdID: 2, SVN: 6,
		},
		Auth: make([]byte, 32),
	}
	fill := func(field []byte, seed byte) {
		for i := range field {
			field[i] = seed + byte(i)
		}
	}
	fill(out.MRSEAM[:], 0x5b)
	fill(out.MRTD[:], 1)
	for i := range out.RTMR {
		fill(out.RTMR[i][:], byte(0x20*(i+1)))
	}
	fill(out.ReportData[:], 3)
	fill(out.QE.MREnclave[:], 0x70)
	fill(out.UserData[:16], 0x90)
	fill(out.Auth, 0)
	return out
}

// Signed is what the attestation key signs: header and body.
func (q TDQuote) Signed() []byte {
	put := binary.LittleEndian
	out := make([]byte, 0, TDHeaderSize+6+TDBody15Size)
	out = put.AppendUint16(out, q.Version)
	out = put.AppendUint16(out, q.KeyType)
	out = put.AppendUint32(out, q.TEE)
	out = append(out, q.HeaderSVN[:]...)
	out = append(out, q.Vendor[:]...)
	out = append(out, q.UserData[:]...)
	if q.Version == 5 {
		out = put.AppendUint16(out, q.BodyType)
		size := uint32(TDBody10Size)
		if q.BodyType == TDBody15 {
			size = TDBody15Size
		}
		out = put.AppendUint32(out, size)
	}
	out = append(out, q.TEETCBSVN[:]...)
	out = append(out, q.MRSEAM[:]...)
	out = append(out, q.MRSignerSEAM[:]...)
	out = put.AppendUint64(out, q.SEAMAttributes)
	out = put.AppendUint64(out, q.TDAttributes)
	out = put.AppendUint64(out, q.XFAM)
	for _, field := range [][48]byte{q.MRTD, q.MRConfigID, q.MROwner, q.MROwnerConfig,
		q.RTMR[0], q.RTMR[1], q.RTMR[2], q.RTMR[3]} {
		out = append(out, field[:]...)
	}
	out = append(out, q.ReportData[:]...)
	if q.Version == 5 && q.BodyType == TDBody15 {
		out = append(out, q.TEETCBSVN2[:]...)
		out = append(out, q.MRServiceTD[:]...)
	}
	return out
}

// Bytes returns the report of the quoting enclave with data as its REPORTDATA.
func (r QEReport) Bytes(data [64]byte) []byte {
	if r.Data != nil {
		data = *r.Data
	}
	out := make([]byte, QEReportSize)
	copy(out, r.CPUSVN[:])
	binary.LittleEndian.PutUint32(out[16:], r.MiscSelect)
	copy(out[48:], r.Attributes[:])
	copy(out[64:], r.MREnclave[:])
	copy(out[128:], r.MRSigner[:])
	binary.LittleEndian.PutUint16(out[256:], r.ProdID)
	binary.LittleEndian.PutUint16(out[258:], r.SVN)
	copy(out[320:], data[:])
	return out
}

// TDParts are the parts of a signed quote, to be changed one by one and signed again.
type TDParts struct {
	// Signed is header and body.
	Signed         []byte
	Signature, Key [64]byte
	// CertType is that of the outer certification data (6), ChainType that of the inner (5).
	CertType, ChainType uint16
	QEReport            []byte
	QESignature         [64]byte
	Auth, Chain         []byte
	// Trailing stands behind everything.
	Trailing []byte
	// Sizes that lie, where not nil.
	SignedDataSize, CertSize, ChainSize *uint32
	AuthSize                            *uint16

	key *ecdsa.PrivateKey
}

// Parts signs the quote: a new attestation key signs header and body, the PCK the enclave's report.
func (q TDQuote) Parts(pck PCK) (TDParts, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return TDParts{}, err
	}
	out := TDParts{Signed: q.Signed(), CertType: 6, ChainType: 5, Auth: bytes.Clone(q.Auth),
		Chain: pck.PEM(), key: key}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return TDParts{}, err
	}
	copy(out.Key[:], public[1:])
	if err := out.SignQuote(); err != nil {
		return TDParts{}, err
	}
	out.QEReport = q.QE.Bytes(out.Binding())
	return out, out.SignQE(pck.Key)
}

// Binding is what the enclave's REPORTDATA says of the attestation key.
func (p *TDParts) Binding() (out [64]byte) {
	digest := sha256.Sum256(append(bytes.Clone(p.Key[:]), p.Auth...))
	copy(out[:], digest[:])
	return out
}

// SignQuote signs header and body again.
func (p *TDParts) SignQuote() (err error) {
	p.Signature, err = rawP256(p.Signed, p.key)
	return err
}

// SignQE signs the enclave's report again.
func (p *TDParts) SignQE(key *ecdsa.PrivateKey) (err error) {
	p.QESignature, err = rawP256(p.QEReport, key)
	return err
}

// Rebind makes the enclave's report name the key and the authentication data again, and signs it.
func (p *TDParts) Rebind(key *ecdsa.PrivateKey) error {
	binding := p.Binding()
	copy(p.QEReport[320:], binding[:])
	return p.SignQE(key)
}

// rawP256 signs SHA-256 of message and returns R || S.
func rawP256(message []byte, key *ecdsa.PrivateKey) (out [64]byte, err error) {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return out, err
	}
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

// Bytes lays the quote out.
func (p *TDParts) Bytes() []byte {
	put := binary.LittleEndian
	size := func(lie *uint32, of []byte) uint32 {
		if lie != nil {
			return *lie
		}
		return uint32(len(of)) //nolint:gosec // a test's few kilobytes
	}
	authSize := uint16(len(p.Auth)) //nolint:gosec // a test's few bytes
	if p.AuthSize != nil {
		authSize = *p.AuthSize
	}
	inner := append(bytes.Clone(p.QEReport), p.QESignature[:]...)
	inner = append(put.AppendUint16(inner, authSize), p.Auth...)
	inner = put.AppendUint16(inner, p.ChainType)
	inner = append(put.AppendUint32(inner, size(p.ChainSize, p.Chain)), p.Chain...)

	data := append(bytes.Clone(p.Signature[:]), p.Key[:]...)
	data = put.AppendUint16(data, p.CertType)
	data = append(put.AppendUint32(data, size(p.CertSize, inner)), inner...)

	out := put.AppendUint32(bytes.Clone(p.Signed), size(p.SignedDataSize, data))
	return append(append(out, data...), p.Trailing...)
}

// Sign returns the whole quote.
func (q TDQuote) Sign(pck PCK) ([]byte, error) {
	parts, err := q.Parts(pck)
	if err != nil {
		return nil, err
	}
	return parts.Bytes(), nil
}
