package tpmtrust

// firmwareRange is a range of weak firmware of one major version, both ends included.
type firmwareRange struct {
	major    uint16
	from, to uint16 // minor
}

// weakFirmware by the manufacturer's TCG vendor id, from what the makers themselves published.
var weakFirmware = map[string][]firmwareRange{
	// Infineon, "TPM update" (October 2017), for CVE-2017-15361 (ROCA): RSA keys that were made by
	// these versions can be computed from their public halves.
	"IFX": {
		{4, 0, 33}, {4, 40, 42}, {5, 0, 61}, {6, 0, 42}, {7, 0, 61}, {133, 0, 32},
	},
	// STMicroelectronics, "TPM firmware update - ECDSA signature generation" (November 2019), for
	// CVE-2019-16863 (TPM-FAIL): ECDSA keys leak through the time that signatures take.
	"STM": {
		{71, 0, 0}, {71, 4, 4}, {71, 12, 12}, {73, 0, 0}, {73, 4, 5}, {73, 8, 9},
		{74, 0, 0}, {74, 4, 5}, {74, 8, 9}, {74, 16, 16},
	},
}

// FirmwareVulnerable says whether the version that a quote states is one of those whose maker said
// that its keys can be stolen. known is false where the table has no row for the manufacturer: then
// nothing is known either way.
//
// The version is TPMS_ATTEST's: TPM_PT_FIRMWARE_VERSION_1 in the upper half, which these makers
// fill with a major and a minor number of 16 bits each.
func FirmwareVulnerable(manufacturer string, firmware uint64) (vulnerable, known bool) {
	ranges, known := weakFirmware[manufacturer]
	major, minor := uint16(firmware>>48), uint16(firmware>>32) //nolint:gosec // the halves of the upper half
	for _, row := range ranges {
		if major == row.major && minor >= row.from && minor <= row.to {
			return true, true
		}
	}
	return false, known
}
