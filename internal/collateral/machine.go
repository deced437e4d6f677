package collateral

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Kind says which of AMD's keys for single machines it is.
type Kind string

// Kinds.
const (
	// VCEK is derived from a chip's own secret.
	VCEK Kind = "vcek"
	// VLEK is derived from a secret that AMD gave to a cloud provider, and names no chip.
	VLEK Kind = "vlek"
)

// Lines are AMD's product lines, as its KDS names them. There are no others.
var lines = []string{"Milan", "Genoa", "Turin"}

// lineTurin counts its levels in another order, has one more, and has chip ids of eight bytes.
const lineTurin = "Turin"

// Lines returns AMD's product lines under the names that its KDS has for them.
func Lines() []string { return slices.Clone(lines) }

func knownLine(name string) string {
	if index := slices.Index(lines, name); index >= 0 {
		return lines[index]
	}
	return ""
}

// Machine names the key of one machine at one level of its firmware: what AMD certifies.
type Machine struct {
	Kind Kind   `json:"kind"`
	Line string `json:"line"`
	// Chip is the chip's id in hex: 64 bytes, of Turin 8. A VLEK has none.
	Chip string `json:"chip"`
	// Levels are the security patch levels: FMC (Turin's alone), boot loader, TEE, SNP and microcode.
	Levels [5]uint8 `json:"levels"`
}

// check refuses what names no machine.
func (m Machine) check() error {
	chip, err := hex.DecodeString(m.Chip)
	size := 64
	if m.Line == lineTurin {
		size = 8
	}
	switch {
	case knownLine(m.Line) == "":
		return fmt.Errorf("product line %q, want one of %s", attestd.Excerpt(m.Line, 20), strings.Join(lines, ", "))
	case m.Kind == VLEK && m.Chip == "":
	case m.Kind != VCEK || err != nil || hex.EncodeToString(chip) != m.Chip || len(chip) != size:
		return fmt.Errorf("a chip id that is none of %s", m.Line)
	case allZero(chip):
		return fmt.Errorf("a chip id of zeros, which is a masked one")
	}
	if m.Line != lineTurin && m.Levels[0] != 0 {
		return fmt.Errorf("%s has no FMC level", m.Line)
	}
	return nil
}

// key names the machine's file.
func (m Machine) key() string {
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %v", m.Kind, m.Line, m.Chip, m.Levels))
	return hex.EncodeToString(digest[:16])
}

// String is the machine in one line.
func (m Machine) String() string {
	chip := m.Chip
	if len(chip) > 16 {
		chip = chip[:16] + ".."
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", m.Line, chip, m.levels()))
}

func (m Machine) levels() string {
	text := fmt.Sprintf("bl=%d tee=%d snp=%d ucode=%d", m.Levels[1], m.Levels[2], m.Levels[3], m.Levels[4])
	if m.Line == lineTurin {
		text = fmt.Sprintf("fmc=%d ", m.Levels[0]) + text
	}
	return text
}

// Where a report says which key signed it (AMD 56860 rev 1.58, section 7.3, Table 23).
const (
	reportSize     = 0x4a0
	offKeyInfo     = 0x048
	offReportedTCB = 0x180
	offCPUID       = 0x188
	offChipID      = 0x1a0
	versionCPUID   = 3
)

// machinesOf reads which machine evidence names. Nothing of it is believed: it says what to look up. A
// report of version 2 does not say its line, and then there is one Machine for each line it may be of.
func machinesOf(evidence []byte) []Machine {
	if len(evidence) < reportSize {
		return nil
	}
	version := binary.LittleEndian.Uint32(evidence)
	if version < 2 || version > 64 {
		return nil
	}
	candidates := []string{"Milan", "Genoa"}
	if version >= versionCPUID {
		line := lineOfCPU(evidence[offCPUID], evidence[offCPUID+1])
		if line == "" {
			return nil
		}
		candidates = []string{line}
	}
	kind, chip := VCEK, evidence[offChipID:offChipID+64]
	switch binary.LittleEndian.Uint32(evidence[offKeyInfo:]) >> 2 & 7 {
	case 0:
	case 1:
		kind = VLEK
	default:
		return nil
	}
	if kind == VCEK && allZero(chip) {
		return nil
	}
	level := evidence[offReportedTCB : offReportedTCB+8]
	var found []Machine
	for _, line := range candidates {
		machine := Machine{Kind: kind, Line: line, Levels: [5]uint8{0, level[0], level[1], level[6], level[7]}}
		if line == lineTurin {
			machine.Levels = [5]uint8{level[0], level[1], level[2], level[3], level[7]}
			chip = chip[:8]
		}
		if kind == VCEK {
			machine.Chip = hex.EncodeToString(chip)
		}
		found = append(found, machine)
	}
	return found
}

// lineOfCPU maps CPUID family and model to the line whose root certifies them (AMD 57230).
func lineOfCPU(family, model byte) string {
	switch {
	case family == 0x19 && model <= 0x0f:
		return "Milan"
	case family == 0x19 && (model <= 0x1f || model >= 0xa0 && model <= 0xaf):
		return "Genoa"
	case family == 0x1a && model <= 0x1f:
		return lineTurin
	default:
		return ""
	}
}

func allZero(data []byte) bool { return len(bytes.Trim(data, "\x00")) == 0 }

// arc is where AMD's extensions lie (AMD 57230 rev 0.50 and later).
var arc = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 3704, 1}

// extensionOf returns the value of AMD's extension, nil where there is none.
func extensionOf(certificate *x509.Certificate, below ...int) []byte {
	oid := append(slices.Clone(arc), below...)
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(oid) {
			return extension.Value
		}
	}
	return nil
}

// endorsed is a verified certificate of one machine.
type endorsed struct {
	machine     Machine
	certificate *x509.Certificate
	// csp is the cloud provider's id in a VLEK.
	csp string
}

// authenticMachine verifies a VCEK or VLEK at a time, and reads what it is for out of it: nobody says
// that but the vendor.
func authenticMachine(issuers []*issuer, der []byte, at time.Time) (*endorsed, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, unreadable("certificate", err)
	}
	by, err := signer(issuers, certificate, "")
	if err != nil {
		return nil, err
	}
	if by.kind == "" || by.line == "" || certificate.IsCA {
		return nil, invalid("import CAs, lists and VCEKs or VLEKs: attesters bring all others themselves",
			"a certificate of %q, which is no VCEK or VLEK", attestd.Excerpt(certificate.Issuer.CommonName, 80))
	}
	if err := checkValidity(certificate, string(by.kind)+" of "+by.line, at); err != nil {
		return nil, err
	}
	found, err := readMachine(certificate, by.kind, by.line)
	if err != nil {
		return nil, invalid("get it from the vendor again", "a certificate of %q: %w",
			attestd.Excerpt(certificate.Issuer.CommonName, 80), err)
	}
	return found, nil
}

// readMachine reads AMD's extensions.
func readMachine(certificate *x509.Certificate, kind Kind, line string) (*endorsed, error) {
	found := &endorsed{machine: Machine{Kind: kind, Line: line}, certificate: certificate}
	places := [][2]int{{0, 0}, {3, 1}, {3, 2}, {3, 3}, {3, 8}}
	if line == lineTurin {
		places[0] = [2]int{3, 9}
	}
	for index, place := range places {
		if place[0] == 0 {
			continue
		}
		var level int
		value := extensionOf(certificate, place[0], place[1])
		if rest, err := asn1.Unmarshal(value, &level); err != nil || len(rest) != 0 || level < 0 || level > 255 {
			return nil, fmt.Errorf("no level in extension %d.%d", place[0], place[1])
		}
		found.machine.Levels[index] = uint8(level)
	}
	hwid, csp := extensionOf(certificate, 4), extensionOf(certificate, 5)
	switch {
	case kind == VCEK && (hwid == nil || csp != nil), kind == VLEK && (hwid != nil || csp == nil):
		return nil, fmt.Errorf("extensions that are not those of a %s", kind)
	case kind == VCEK:
		found.machine.Chip = hex.EncodeToString(hwid)
	default:
		rest, err := asn1.Unmarshal(csp, &found.csp)
		if err != nil || len(rest) != 0 {
			return nil, fmt.Errorf("no cloud provider's id")
		}
		found.csp = attestd.Excerpt(found.csp, 127)
	}
	return found, found.machine.check()
}
