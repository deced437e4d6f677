package forge

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
)

// Sizes of an SNP report.
const (
	SNPReportSize = 1184
	snpSigned     = 672
)

// SNPReport are the fields of a report that tests change. NewSNPReport gives one that every policy
// could accept; whatever has no field is changed in the bytes.
type SNPReport struct {
	Version             uint32
	Policy              uint64
	VMPL                uint32
	PlatformInfo        uint64
	KeyInfo             uint32
	ReportData          [64]byte
	Measurement         [48]byte
	HostData            [32]byte
	IDKeyDigest         [48]byte
	AuthorKeyDigest     [48]byte
	ReportID            [32]byte
	ReportIDMA          [32]byte
	CPUID               [3]byte // family, model, stepping; ignored below version 3
	ChipID              [64]byte
	Current, Reported   TCB
	Committed, Launch   TCB
	Running, Kept       [3]byte // firmware build, minor, major: current and committed
	LaunchMIT, Mitigate uint64  // mitigation vectors; ignored below version 5
}

// NewSNPReport returns a good report of the version for "Milan", "Milan-X", "Genoa", "Genoa-X",
// "Bergamo", "Turin" or "Turin-Dense".
func NewSNPReport(product string, version uint32) SNPReport {
	out := SNPReport{
		Version: version, Policy: 0x30000, PlatformInfo: 0x05, CPUID: [3]byte{0x19, 0x01, 0x01},
		Running: [3]byte{49, 55, 1}, Kept: [3]byte{49, 55, 1},
	}
	level := TCB{4, 0, 25, 219}
	switch product {
	case "Milan-X":
		out.CPUID, level = [3]byte{0x19, 0x01, 0x02}, TCB{4, 0, 25, 68}
	case "Genoa-X":
		out.CPUID, level = [3]byte{0x19, 0x11, 0x02}, TCB{10, 0, 24, 79}
	case "Genoa":
		out.CPUID, level = [3]byte{0x19, 0x11, 0x01}, TCB{10, 0, 24, 84}
	case "Bergamo":
		out.CPUID, level = [3]byte{0x19, 0xa0, 0x02}, TCB{10, 0, 27, 27}
	case "Turin":
		out.CPUID, level = [3]byte{0x1a, 0x02, 0x01}, TCB{1, 0, 4, 82, 1}
	case "Turin-Dense":
		out.CPUID, level = [3]byte{0x1a, 0x11, 0x00}, TCB{1, 0, 4, 82, 1}
	}
	out.Current, out.Reported, out.Committed, out.Launch = level, level, level, level
	if version >= 3 {
		out.PlatformInfo |= 1 << 5
	}
	if version >= 5 {
		out.LaunchMIT, out.Mitigate = 11, 11
	}
	for i := range out.ReportIDMA {
		out.ReportIDMA[i] = 0xff
	}
	for i := range out.chipIDSize() {
		out.ChipID[i] = byte(0xc0 + i)
	}
	for i := range out.Measurement {
		out.Measurement[i] = byte(i + 1)
	}
	for i := range out.ReportData {
		out.ReportData[i] = byte(2*i + 1)
	}
	copy(out.ReportID[:], "the report id of a forged guest!")
	return out
}

// familyTurin is the CPU family whose reports have another TCB_VERSION and a short CHIP_ID.
const familyTurin = 0x1a

// chipIDSize is how many bytes of CHIP_ID name the chip.
func (r SNPReport) chipIDSize() int {
	if r.CPUID[0] == familyTurin {
		return 8
	}
	return len(r.ChipID)
}

// WithVLEK returns the report as a VLEK signs it: it names that key and no chip.
func (r SNPReport) WithVLEK() SNPReport {
	r.KeyInfo |= 1 << 2
	r.ChipID = [64]byte{}
	return r
}

// Bytes returns the report without a signature.
func (r SNPReport) Bytes() []byte {
	out := make([]byte, SNPReportSize)
	put32 := func(at int, value uint32) { binary.LittleEndian.PutUint32(out[at:], value) }
	put64 := func(at int, value uint64) { binary.LittleEndian.PutUint64(out[at:], value) }
	tcb := func(at int, value TCB) {
		if r.CPUID[0] == familyTurin {
			out[at], out[at+1], out[at+2], out[at+3] = value[4], value[0], value[1], value[2]
			out[at+7] = value[3]
			return
		}
		out[at], out[at+1], out[at+6], out[at+7] = value[0], value[1], value[2], value[3]
	}
	put32(0x00, r.Version)
	put64(0x08, r.Policy)
	put32(0x30, r.VMPL)
	put32(0x34, 1)
	tcb(0x38, r.Current)
	put64(0x40, r.PlatformInfo)
	put32(0x48, r.KeyInfo)
	copy(out[0x50:], r.ReportData[:])
	copy(out[0x90:], r.Measurement[:])
	copy(out[0xc0:], r.HostData[:])
	copy(out[0xe0:], r.IDKeyDigest[:])
	copy(out[0x110:], r.AuthorKeyDigest[:])
	copy(out[0x140:], r.ReportID[:])
	copy(out[0x160:], r.ReportIDMA[:])
	tcb(0x180, r.Reported)
	if r.Version >= 3 {
		copy(out[0x188:], r.CPUID[:])
	}
	copy(out[0x1a0:], r.ChipID[:])
	tcb(0x1e0, r.Committed)
	copy(out[0x1e8:], r.Running[:])
	copy(out[0x1ec:], r.Kept[:])
	tcb(0x1f0, r.Launch)
	if r.Version >= 5 {
		put64(0x1f8, r.LaunchMIT)
		put64(0x200, r.Mitigate)
	}
	return out
}

// VCEKConfig returns the configuration of the VCEK that belongs to the report.
func (r SNPReport) VCEKConfig(product string) VCEKConfig {
	hwid := slices.Clone(r.ChipID[:r.chipIDSize()])
	out := VCEKConfig{Product: product, HWID: hwid, TCB: r.Reported}
	if r.CPUID[0] == familyTurin {
		out.StructVersion = 1
	}
	return out
}

// VLEKConfig returns the configuration of a VLEK of the cloud for the report. A VLEK is for a line and
// has no stepping in its product name.
func (r SNPReport) VLEKConfig(product, cloud string) VCEKConfig {
	product, _, _ = strings.Cut(product, "-")
	out := r.VCEKConfig(product)
	out.HWID, out.CSPID = nil, cloud
	return out
}

// SignSNP signs report as it stands, whatever it says, and returns the signed copy.
func SignSNP(report []byte, key crypto.Signer) ([]byte, error) {
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || len(report) != SNPReportSize {
		return nil, errors.New("an SNP report of 1184 bytes and an ECDSA key are needed")
	}
	digest := sha512.Sum384(report[:snpSigned])
	der, err := ecdsa.SignASN1(rand.Reader, signer, digest[:])
	if err != nil {
		return nil, err
	}
	var scalars struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &scalars); err != nil {
		return nil, err
	}
	out := bytes.Clone(report)
	clear(out[snpSigned:])
	for at, scalar := range map[int]*big.Int{0: scalars.R, 72: scalars.S} {
		little := scalar.FillBytes(make([]byte, 72))
		slices.Reverse(little)
		copy(out[snpSigned+at:], little)
	}
	return out, nil
}

// GUIDs of a certificate table.
const (
	GUIDVCEK = "63da758de6644564adc5f4b93be8accd"
	GUIDVLEK = "a8074bc2a25a483eaae639c045a0b8a1"
	GUIDASK  = "4ab7b379bbac4fe4a02f05aef327c782"
	GUIDARK  = "c0b406a4a803495297433fb6014cd0ae"
	GUIDCRL  = "92f81bc358114d3d97ffd19f88dc67ea"
)

// SNPTableEntry is one entry of a certificate table.
type SNPTableEntry struct {
	GUID string
	Data []byte
}

// SNPTable lays out a certificate table without padding.
func SNPTable(entries ...SNPTableEntry) ([]byte, error) {
	offset := 24 * (len(entries) + 1)
	header, body := make([]byte, 0, offset), []byte(nil)
	for _, entry := range entries {
		kind, err := hex.DecodeString(entry.GUID)
		if err != nil {
			return nil, err
		}
		header = append(header, kind...)
		header = binary.LittleEndian.AppendUint32(header, uint32(offset+len(body))) //nolint:gosec // small
		header = binary.LittleEndian.AppendUint32(header, uint32(len(entry.Data)))  //nolint:gosec // small
		body = append(body, entry.Data...)
	}
	return append(append(header, make([]byte, 24)...), body...), nil
}
