package sevsnp

// Bits of POLICY (AMD 56860 rev 1.58, section 4.3, Table 9).
const (
	policySMT              = 1 << 16
	policyReservedOne      = 1 << 17
	policyMigrateMA        = 1 << 18
	policyDebug            = 1 << 19
	policySingleSocket     = 1 << 20
	policyCXL              = 1 << 21
	policyAES256XTS        = 1 << 22
	policyRAPLDisabled     = 1 << 23
	policyCiphertextHiding = 1 << 24
	policyPageSwapDisabled = 1 << 25 // in use since report version 5
)

// Bits of PLATFORM_INFO (AMD 56860 rev 1.58, section 7.3, Table 23; bit 6 is younger than that
// revision and came with the fix of AMD-SB-3016, CVE-2023-20585).
const (
	platformSMT              = 1 << 0
	platformTSME             = 1 << 1
	platformECC              = 1 << 2
	platformRAPLDisabled     = 1 << 3
	platformCiphertextHiding = 1 << 4
	platformAliasCheck       = 1 << 5 // in use since report version 3
	platformIOMMUWriteSafe   = 1 << 6 // seen set in reports of version 5
	platformTIO              = 1 << 7 // in use since report version 5
)

// keyInfo bits (AMD 56860 rev 1.58, section 7.3, Table 23).
const (
	keyInfoAuthorKey   = 1 << 0
	keyInfoMaskChipKey = 1 << 1
)

// unknownPolicy returns the bits of POLICY to which no cited document gives a meaning in reports
// of this version. A bit that nobody here understands may allow the host anything.
func (r report) unknownPolicy() uint64 {
	known := uint64(policyPageSwapDisabled - 1)
	if r.hasMIT() {
		known |= policyPageSwapDisabled
	}
	return r.policy() &^ known
}

// unknownPlatform is the same for PLATFORM_INFO.
func (r report) unknownPlatform() uint64 {
	known := uint64(platformAliasCheck - 1)
	if r.hasCPUID() {
		known |= platformAliasCheck
	}
	if r.hasMIT() {
		known |= platformIOMMUWriteSafe | platformTIO
	}
	return r.platformInfo() &^ known
}
