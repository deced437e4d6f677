package forge

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// HCLClaims are the runtime claims that Azure's paravisor puts beside its report. NewHCLClaims gives
// some that every policy could accept.
type HCLClaims struct {
	Keys   []HCLKey
	Config HCLVMConfig
	// UserData are the 64 bytes that the guest left in the vTPM.
	UserData []byte
	// JSON replaces what is written from the other fields where it is not nil.
	JSON []byte
}

// HCLKey is a JSON Web Key as the paravisor writes it.
type HCLKey struct {
	ID         string   `json:"kid"`
	Operations []string `json:"key_ops"`
	Type       string   `json:"kty"`
	E          string   `json:"e"`
	N          string   `json:"n"`
}

// HCLVMConfig is what the claims say about the virtual machine.
type HCLVMConfig struct {
	ConsoleEnabled bool   `json:"console-enabled"`
	Thumbprint     string `json:"root-cert-thumbprint,omitempty"`
	SecureBoot     bool   `json:"secure-boot"`
	TPMEnabled     bool   `json:"tpm-enabled"`
	TPMPersisted   bool   `json:"tpm-persisted"`
	ID             string `json:"vmUniqueId"`
}

// NewHCLKey returns the JSON Web Key of a public key.
func NewHCLKey(id, operation string, key *rsa.PublicKey) HCLKey {
	text := base64.RawURLEncoding.EncodeToString
	return HCLKey{ID: id, Operations: []string{operation}, Type: "RSA",
		E: text(big.NewInt(int64(key.E)).Bytes()), N: text(key.N.Bytes())}
}

// NewHCLClaims returns good claims over a vTPM's keys. ek may be nil.
func NewHCLClaims(ak, ek *rsa.PublicKey) HCLClaims {
	out := HCLClaims{
		Keys: []HCLKey{NewHCLKey("HCLAkPub", "sign", ak)},
		Config: HCLVMConfig{SecureBoot: true, TPMEnabled: true, TPMPersisted: true,
			Thumbprint: base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xea}, 32)),
			ID:         "390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC"},
		UserData: make([]byte, 64),
	}
	if ek != nil {
		out.Keys = append(out.Keys, NewHCLKey("HCLEkPub", "encrypt", ek))
	}
	return out
}

// Bytes returns the claims as they are hashed.
func (c HCLClaims) Bytes() ([]byte, error) {
	if c.JSON != nil {
		return c.JSON, nil
	}
	return json.Marshal(struct {
		Keys     []HCLKey    `json:"keys"`
		Config   HCLVMConfig `json:"vm-configuration"`
		UserData string      `json:"user-data"`
	}{c.Keys, c.Config, hex.EncodeToString(c.UserData)})
}

// ReportData returns what the CPU's report says over the claims: their SHA-256 and 32 zeros.
func (c HCLClaims) ReportData() (out [64]byte, err error) {
	written, err := c.Bytes()
	digest := sha256.Sum256(written)
	copy(out[:], digest[:])
	return out, err
}

// Types of the CPU's report inside an HCL report.
const (
	HCLReportSNP = 2
	HCLReportTDX = 4
)

// HCLReport are the fields around the CPU's report and the claims. NewHCLReport gives good ones.
type HCLReport struct {
	Signature                [4]byte
	Version, Request, Status uint32
	Reserved                 [12]byte
	// Hardware is the CPU's report, filled with zeros up to 1,184 bytes.
	Hardware                        []byte
	DataVersion, ReportType, Hash   uint32
	Claims                          []byte
	ReportSize, DataSize, ClaimSize *uint32 // what is true where nil
}

// NewHCLReport returns a good HCL report around a CPU's report and claims.
func NewHCLReport(kind uint32, hardware, claims []byte) HCLReport {
	return HCLReport{Signature: [4]byte([]byte("HCLA")), Version: 2, Request: 2, Hardware: hardware,
		DataVersion: 1, ReportType: kind, Hash: 1, Claims: claims}
}

// Bytes returns the report as the paravisor writes it, without what fills the NV index behind it.
func (r HCLReport) Bytes() []byte {
	or := func(size *uint32, standard int) uint32 {
		if size != nil {
			return *size
		}
		return uint32(standard) //nolint:gosec // a report of a test
	}
	const header, area, data = 32, SNPReportSize, 20
	put := binary.LittleEndian
	out := slices.Clone(r.Signature[:])
	out = put.AppendUint32(out, r.Version)
	out = put.AppendUint32(out, or(r.ReportSize, header+area+data+len(r.Claims)))
	out = put.AppendUint32(out, r.Request)
	out = put.AppendUint32(out, r.Status)
	out = append(out, r.Reserved[:]...)
	out = append(out, r.Hardware...)
	out = append(out, make([]byte, max(0, header+area-len(out)))...)
	out = put.AppendUint32(out, or(r.DataSize, data+len(r.Claims)))
	out = put.AppendUint32(out, r.DataVersion)
	out = put.AppendUint32(out, r.ReportType)
	out = put.AppendUint32(out, r.Hash)
	out = put.AppendUint32(out, or(r.ClaimSize, len(r.Claims)))
	return append(out, r.Claims...)
}

// HCLIndex returns the report as NV index 0x01400001 holds it: with zeros up to 2,600 bytes.
func HCLIndex(report []byte) []byte {
	return append(slices.Clone(report), make([]byte, max(0, 2600-len(report)))...)
}

// AzureIDKey is the ID_KEY_DIGEST that Azure's paravisor has in published reports.
var AzureIDKey = [48]byte{
	0x94, 0x2f, 0xd9, 0x3e, 0xbd, 0xe6, 0xea, 0x7a, 0x96, 0xef, 0xad, 0xea, 0xfc, 0x60, 0xf1, 0xc6,
	0xb3, 0xd1, 0x0e, 0x70, 0x3b, 0x1d, 0xaf, 0xd7, 0x55, 0x5b, 0x92, 0xf7, 0xf3, 0xd3, 0x2d, 0x0e,
	0x00, 0x67, 0x67, 0x64, 0x8c, 0xba, 0x5b, 0x10, 0x2a, 0xf3, 0xd6, 0x57, 0x56, 0xaf, 0x41, 0x77,
}

// AzureSNP returns the HCL report of an Azure VM on the product (as in NewSNPReport), and the
// certificates of the chip's key: VCEK and ASK in DER. edit may be nil; it changes the CPU's report
// before it is signed.
func (a *AMD) AzureSNP(
	product string, claims HCLClaims, edit func(*SNPReport),
) (report []byte, certificates [][]byte, err error) {
	written, err := claims.Bytes()
	if err != nil {
		return nil, nil, err
	}
	hardware := NewSNPReport(product, 3)
	hardware.Policy, hardware.IDKeyDigest = 0x3001f, AzureIDKey
	if hardware.ReportData, err = claims.ReportData(); err != nil {
		return nil, nil, err
	}
	if edit != nil {
		edit(&hardware)
	}
	vcek, err := a.IssueVCEK(hardware.VCEKConfig(product))
	if err != nil {
		return nil, nil, err
	}
	signed, err := SignSNP(hardware.Bytes(), vcek.Key)
	if err != nil {
		return nil, nil, err
	}
	return NewHCLReport(HCLReportSNP, signed, written).Bytes(), [][]byte{vcek.DER, a.ASK.Raw}, nil
}

// AzureTDX returns the HCL report of an Azure VM in a trust domain, and the quote of that domain.
// edit may be nil; it changes quote and report alike.
func AzureTDX(pck PCK, claims HCLClaims, edit func(*TDQuote)) (report, quote []byte, err error) {
	written, err := claims.Bytes()
	if err != nil {
		return nil, nil, err
	}
	domain := NewTDQuote(4)
	domain.TDAttributes, domain.RTMR = 0, [4][48]byte{}
	if domain.ReportData, err = claims.ReportData(); err != nil {
		return nil, nil, err
	}
	if edit != nil {
		edit(&domain)
	}
	if quote, err = domain.Sign(pck); err != nil {
		return nil, nil, err
	}
	return NewHCLReport(HCLReportTDX, domain.Report(), written).Bytes(), quote, nil
}

// AzureAK makes the attestation key of an Azure vTPM: RSA by Azure's template. signer may be nil.
func AzureAK(signer *rsa.PrivateKey) (*TPMKey, error) {
	config := TPMKeyConfig{Scheme: tpm2.TPMAlgRSASSA, Edit: func(public *tpm2.TPMTPublic) {
		public.ObjectAttributes.NoDA = true
	}}
	if signer != nil {
		config.Signer = signer
	}
	return NewTPMKey(config)
}

// RSAPublic returns the key's public key; an error where it is none of RSA.
func (k *TPMKey) RSAPublic() (*rsa.PublicKey, error) {
	public, ok := k.Signer.Public().(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	return public, nil
}
