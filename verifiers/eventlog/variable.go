package eventlog

import (
	"encoding/binary"
	"unicode/utf16"

	"github.com/attestd/attestd"
)

// guid is an EFI_GUID as it lies in memory: its first three fields are little-endian (UEFI 2.10
// appendix A).
type guid [16]byte

func newGUID(a uint32, b, c uint16, rest ...byte) guid {
	var out guid
	binary.LittleEndian.PutUint32(out[:], a)
	binary.LittleEndian.PutUint16(out[4:], b)
	binary.LittleEndian.PutUint16(out[6:], c)
	copy(out[8:], rest)
	return out
}

// Vendors of variables: EFI_GLOBAL_VARIABLE (UEFI 2.10 section 3.3),
// EFI_IMAGE_SECURITY_DATABASE_GUID (section 32.6.1), and the one under which shim keeps its
// variables.
var (
	globalVariable = newGUID(0x8be4df61, 0x93ca, 0x11d2,
		0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
	securityDatabase = newGUID(0xd719b2cb, 0x3d3a, 0x4596,
		0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f)
	shimLock = newGUID(0x605dab50, 0xe046, 0x4300,
		0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23)
)

// variable is a UEFI_VARIABLE_DATA (PFP 1.06 section 10.2.6); its parts are parts of the event's
// data.
type variable struct {
	vendor guid
	name   []byte // UTF-16, little-endian
	data   []byte
}

const variableHead = 16 + 8 + 8

// parseVariable reads a UEFI_VARIABLE_DATA that fills data to its end.
func parseVariable(data []byte) (variable, bool) {
	if len(data) < variableHead {
		return variable{}, false
	}
	units, size := binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:])
	rest := data[variableHead:]
	if units > uint64(limits.name) || units*2 > uint64(len(rest)) {
		return variable{}, false
	}
	if size != uint64(len(rest))-units*2 {
		return variable{}, false
	}
	return variable{vendor: guid(data), name: rest[:units*2], data: rest[units*2:]}, true
}

// is reports whether the variable has the vendor and the name.
func (v *variable) is(vendor guid, name string) bool {
	return v.vendor == vendor && sameUTF16(v.name, name)
}

// policyRole returns the role of a variable of the Secure Boot policy by its name, which is
// covered.
func policyRole(v *variable) attestd.Role {
	switch {
	case v.is(globalVariable, "SecureBoot"):
		return attestd.RoleSecureBoot
	case v.is(globalVariable, "PK"):
		return attestd.RolePK
	case v.is(globalVariable, "KEK"):
		return attestd.RoleKEK
	case v.is(securityDatabase, "db"):
		return attestd.RoleDB
	case v.is(securityDatabase, "dbx"):
		return attestd.RoleDBX
	default:
		return attestd.RoleOther
	}
}

// authorises reports whether a variable named as a database holds one entry of it and not the
// whole: the type alone does not say so, since it is not covered, and no entry reads as a list.
func authorises(kind uint32, v *variable) bool {
	if kind != evVariableAuthority {
		return false
	}
	_, isEntry := authority(v.data)
	return isEntry && signatures(v.data, func(Signature) {}) != nil
}

// harmless names what shim measures into PCR 7 that vouches for no image (shim, file mok.c and
// sbat.c).
func harmless(v *variable) bool {
	return v.is(shimLock, "SbatLevel") || v.is(shimLock, "MokListTrusted")
}

// sameUTF16 compares UTF-16 text with ASCII.
func sameUTF16(text []byte, ascii string) bool {
	if len(text) != 2*len(ascii) {
		return false
	}
	for index := range len(ascii) {
		if text[2*index] != ascii[index] || text[2*index+1] != 0 {
			return false
		}
	}
	return true
}

// decodeUTF16 returns text without the zeros that end it; false for text that is no UTF-16.
func decodeUTF16(text []byte) (string, bool) {
	if len(text)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(text)/2)
	for index := range units {
		units[index] = binary.LittleEndian.Uint16(text[2*index:])
	}
	for len(units) > 0 && units[len(units)-1] == 0 {
		units = units[:len(units)-1]
	}
	for index := 0; index < len(units); index++ {
		unit := rune(units[index])
		if !utf16.IsSurrogate(unit) {
			continue
		}
		// A lone surrogate would become U+FFFD, and two different texts one.
		if index+1 == len(units) || utf16.DecodeRune(unit, rune(units[index+1])) == '\uFFFD' {
			return "", false
		}
		index++
	}
	return string(utf16.Decode(units)), true
}
