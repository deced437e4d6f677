package tdx

// Bits of TD_ATTRIBUTES (Architecture Specification: Intel TDX Module 1.5, ATTRIBUTES). Bits 0 to 7 are
// those of a TD under debug: whoever sets one gives up secrets of the TD to the host.
const (
	attributeDebug       = 1 << 0
	attributeHGSPlusProf = 1 << 4
	attributePerfProf    = 1 << 5
	attributePMTProf     = 1 << 6
	attributeICSSD       = 1 << 16
	attributeLASS        = 1 << 27
	attributeSEPTVE      = 1 << 28
	attributeMigratable  = 1 << 29
	attributePKS         = 1 << 30
	attributeKeyLocker   = 1 << 31
	attributeTPA         = 1 << 62
	attributePerfmon     = 1 << 63

	attributeProfiling = attributeHGSPlusProf | attributePerfProf | attributePMTProf

	knownAttributes = attributeDebug | attributeProfiling | attributeICSSD | attributeLASS |
		attributeSEPTVE | attributeMigratable | attributePKS | attributeKeyLocker | attributeTPA |
		attributePerfmon
)

// Bits of XFAM, those of XCR0 and IA32_XSS (Intel SDM volume 1, section 13.1).
const (
	xfamX87    = 1 << 0
	xfamSSE    = 1 << 1
	xfamAVX    = 1 << 2
	xfamAVX512 = 7 << 5
	xfamPT     = 1 << 8
	xfamPKRU   = 1 << 9
	xfamCET    = 3 << 11
	xfamUINTR  = 1 << 14
	xfamLBR    = 1 << 15
	xfamAMX    = 3 << 17

	// knownXFAM are those that a TDX module of 1.5 lets a TD have (0x6dbe7).
	knownXFAM = xfamX87 | xfamSSE | xfamAVX | xfamAVX512 | xfamPT | xfamPKRU | xfamCET | xfamUINTR |
		xfamLBR | xfamAMX
)

func (q *quote) unknownAttributes() uint64 { return q.tdAttributes() &^ knownAttributes }

func (q *quote) unknownXFAM() uint64 { return q.xfam() &^ knownXFAM }
