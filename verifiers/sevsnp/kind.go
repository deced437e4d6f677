package sevsnp

// keyKind says which of a chip's keys signed a report, with the numbers of SIGNING_KEY (AMD 56860
// rev 1.58, section 7.3, Table 23).
type keyKind uint8

const (
	// kindVCEK is a key that a chip derives from its own secret and its TCB.
	kindVCEK keyKind = 0
	// kindVLEK is a key that a cloud loads into its chips: it names the cloud and no chip.
	kindVLEK keyKind = 1

	keyKinds = 2
)

func (k keyKind) String() string { return [keyKinds]string{"VCEK", "VLEK"}[k] }

// other is the kind that this one is not.
func (k keyKind) other() keyKind { return keyKinds - 1 - k }

// role is what AMD calls the authority over such keys.
func (k keyKind) role() string { return [keyKinds]string{"ASK", "ASVK"}[k] }

// issuer is the common name of the authority over such keys of the line (AMD 57230 rev 0.50).
func (k keyKind) issuer(name line) string {
	if k == kindVLEK {
		return "SEV-VLEK-" + string(name)
	}
	return "SEV-" + string(name)
}

// issuers are those names of all lines, for messages.
func (k keyKind) issuers() string {
	return [keyKinds]string{
		"SEV-Milan, SEV-Genoa or SEV-Turin of AMD",
		"SEV-VLEK-Milan, SEV-VLEK-Genoa or SEV-VLEK-Turin of AMD",
	}[k]
}

// object is an extension that certificates of this kind have and those of the other kind have not,
// as it stands in DER: HWID or CSP_ID.
func (k keyKind) object() []byte { return [keyKinds][]byte{hwidObject, cspObject}[k] }
