package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"github.com/attestd/attestd"
)

// Variables are the UEFI variables of Secure Boot, as the firmware has them.
type Variables struct {
	// On is the variable SecureBoot.
	On bool
	// PK, KEK, DB and DBX are lists of signatures (UEFI 2.10, section 32.4.1, EFI_SIGNATURE_LIST),
	// empty where the variable is not set.
	PK, KEK, DB, DBX []byte
}

// guid is an EFI_GUID as it stands in memory.
type guid [16]byte

var (
	globalVariable   = guid([]byte("\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c"))
	securityDatabase = guid([]byte("\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f"))
	certX509         = guid([]byte("\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72"))
	certSHA256       = guid([]byte("\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28"))
)

// signature is one entry of a list: its owner and what it holds, as one piece.
type signature struct {
	kind guid
	data []byte // EFI_SIGNATURE_DATA
}

// maxVariable is the largest variable that is read, in bytes; real ones have tens of kilobytes.
const maxVariable = 4 << 20

// signatures reads lists of signatures strictly.
func signatures(name string, data []byte) ([]signature, error) {
	if len(data) > maxVariable {
		return nil, &Fault{Class: attestd.ClassTooLarge, Got: fmt.Sprintf("%s of %d bytes", name,
			len(data)),
			Want: fmt.Sprintf("%d bytes at most", maxVariable)}
	}
	var out []signature
	for rest := data; len(rest) > 0; {
		const head = 28
		if len(rest) < head {
			return nil, malformed("whole signature lists", "%s cut off in the head of a list", name)
		}
		size := uint64(binary.LittleEndian.Uint32(rest[16:]))
		header := uint64(binary.LittleEndian.Uint32(rest[20:]))
		each := uint64(binary.LittleEndian.Uint32(rest[24:]))
		if size > uint64(len(rest)) || size < head+header || each < 17 || (size-head-header)%each != 0 {
			return nil, malformed("whole signature lists", "%s with a list of %d bytes, entries of %d", name,
				size, each)
		}
		kind := guid(rest[:16])
		for entries := rest[head+header : size]; len(entries) > 0; entries = entries[each:] {
			out = append(out, signature{kind, entries[:each:each]})
		}
		rest = rest[size:]
	}
	return out, nil
}

// Check reads the lists and says what is wrong with one.
func (v *Variables) Check() error {
	for _, variable := range v.all() {
		if variable.name == "SecureBoot" {
			continue
		}
		if _, err := signatures(variable.name, variable.data); err != nil {
			return err
		}
	}
	if v.On && (len(v.PK) == 0 || len(v.DB) == 0) {
		return malformed("PK and db, without which Secure Boot is off",
			"an empty PK or db with SecureBoot on")
	}
	return nil
}

type variable struct {
	vendor guid
	name   string
	data   []byte
	role   attestd.Role
}

// all lists the variables in the order in which they are measured.
func (v *Variables) all() []variable {
	state := []byte{0}
	if v.On {
		state[0] = 1
	}
	return []variable{
		{globalVariable, "SecureBoot", state, attestd.RoleSecureBoot},
		{globalVariable, "PK", v.PK, attestd.RolePK}, {globalVariable, "KEK", v.KEK, attestd.RoleKEK},
		{securityDatabase, "db", v.DB, attestd.RoleDB}, {securityDatabase, "dbx", v.DBX, attestd.RoleDBX},
	}
}

// encoded is UEFI_VARIABLE_DATA (TCG PC Client PFP 1.05 r23, section 10.2.6).
func (v variable) encoded() []byte {
	units := utf16.Encode([]rune(v.name))
	out := bytes.Clone(v.vendor[:])
	out = binary.LittleEndian.AppendUint64(out, uint64(len(units)))
	out = binary.LittleEndian.AppendUint64(out, uint64(len(v.data)))
	for _, unit := range units {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return append(out, v.data...)
}

// pcr7 is the Secure Boot policy: the variables, a separator, and of each image that the firmware
// let start the entry of db that vouches for it, once (TCG PC Client PFP 1.05 r23, section
// 3.3.4.8).
func (p prediction) pcr7() PCR {
	if p.Variables == nil {
		return unknown(7, "It measures the machine's Secure Boot variables. Give --secure-boot-dir.")
	}
	pcr := PCR{Index: 7, Assumes: []string{
		"The firmware measures SecureBoot, PK, KEK, db and dbx here and nothing more.", noSeparatorOfOS,
	}}
	for _, one := range p.Variables.all() {
		pcr.Events = append(pcr.Events, Event{
			"EV_EFI_VARIABLE_DRIVER_CONFIG", fmt.Sprintf("%s, %d bytes", one.name, len(one.data)),
			p.digest(one.encoded()), one.role,
		})
	}
	pcr.Events = append(pcr.Events, p.separator())
	for _, before := range p.Before {
		if before.Image.isShim() {
			return unknown(7, attestd.Excerpt(before.Name, 60)+" is shim, which measures keys and lists of "+
				"its own that no file shows.")
		}
	}
	if !p.Variables.On {
		return p.total(pcr)
	}
	db, err := signatures("db", p.Variables.DB)
	if err != nil {
		return unknown(7, "db cannot be read: "+err.Error()+".")
	}
	var measured [][]byte
	for _, image := range append(append([]Named{}, p.Before...), p.Image) {
		entry, why := authority(image, db)
		if why != "" {
			return unknown(7, why)
		}
		if containsBytes(measured, entry.data) {
			continue
		}
		measured = append(measured, entry.data)
		pcr.Events = append(pcr.Events, Event{
			"EV_EFI_VARIABLE_AUTHORITY", "entry of db that vouches for " + attestd.Excerpt(image.Name, 100),
			p.digest(variable{vendor: securityDatabase, name: "db", data: entry.data}.encoded()),
			attestd.RoleAuthority,
		})
	}
	return p.total(pcr)
}

func containsBytes(list [][]byte, one []byte) bool {
	for _, other := range list {
		if bytes.Equal(other, one) {
			return true
		}
	}
	return false
}
