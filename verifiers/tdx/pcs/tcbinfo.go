package pcs

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// TCBInfo is TCB information for TDX (PCS API version 4, TCB Info V3, id TDX): the levels of a family
// of platforms, the best first. Nothing may be written to it.
type TCBInfo struct {
	Header
	// FMSPC names the family, package, model, stepping, platform type and custom SKU.
	FMSPC [6]byte
	PCEID [2]byte
	// Module is who signs TDX modules of major version 0.
	Module ModuleSigner
	// Modules are the TDX modules of later major versions; none in documents from before them.
	Modules []ModuleIdentity
	Levels  []Level
	// Unknown are members that are not known here, by their path: Intel adds to version 3.
	Unknown []string

	signed
}

// Head implements Document.
func (i *TCBInfo) Head() Header { return i.Header }

// ModuleSigner is what a TDX module's MRSIGNERSEAM and SEAMATTRIBUTES must be.
type ModuleSigner struct {
	MRSigner   [48]byte
	Attributes [8]byte
	Mask       [8]byte
}

// ModuleIdentity is one major version of the TDX module and the levels of its minor versions.
type ModuleIdentity struct {
	// ID is Intel's name, as in "TDX_03", and Major the version in it: TEE_TCB_SVN[1].
	ID    string
	Major uint8
	ModuleSigner
	// Levels are by TEE_TCB_SVN[0].
	Levels []SVNLevel
}

// Level is one TCB level of a platform.
type Level struct {
	// SGX are the components of the PCK's CPUSVN, TDX those of TEE_TCB_SVN.
	SGX, TDX [16]uint8
	PCESVN   uint16
	Judgement
}

// covers reports whether everything in l is at least what it is in other.
func (l Level) covers(other Level) bool {
	for i := range l.SGX {
		if l.SGX[i] < other.SGX[i] || l.TDX[i] < other.TDX[i] {
			return false
		}
	}
	return l.PCESVN >= other.PCESVN
}

// ParseTCBInfo reads TCB information for TDX, whole, as the PCS answers it. Nothing in it is shown
// before SignedBy.
//
// Errors: a plain error that names what is missing, unknown, out of its bounds or order, or spelled in
// more than one way.
func ParseTCBInfo(document []byte) (*TCBInfo, error) {
	inner, signature, err := open(document, "tcbInfo")
	f := fieldsOf(inner, "tcbInfo", &err) // which keeps the first error
	out := &TCBInfo{Header: readHeader(f, KindTCBInfo, "TDX", 3), signed: signature}
	f.bytes("fmspc", out.FMSPC[:])
	f.bytes("pceId", out.PCEID[:])
	// Type 0 says how components are compared: one by one. Another would need another comparison.
	if kind := f.uint("tcbType", 1<<16); kind != 0 {
		f.wrong("tcbType", "%d, want 0", kind)
	}
	out.Subject = SubjectOfTCBInfo(out.FMSPC)
	module, _ := f.get("tdxModule", '{', "an object")
	signer := fieldsOf(module, "tcbInfo.tdxModule", &err)
	out.Module = readModuleSigner(signer)
	out.Unknown = signer.unknown(out.Unknown)
	if _, found := f.optional("tdxModuleIdentities"); found {
		out.readModules(f)
	}
	for i, one := range f.array("tcbLevels", limits.levels) {
		level := fieldsOf(one, fmt.Sprintf("tcbInfo.tcbLevels[%d]", i), &err)
		out.Levels = append(out.Levels, out.readLevel(level))
		for _, above := range out.Levels[:i] {
			// The first level that a platform reaches is its level. One that asks for no less than an earlier
			// one could never be reached: the order is not Intel's.
			if out.Levels[i].covers(above) {
				f.wrong("tcbLevels", "level %d is not below every level before it", i)
			}
		}
	}
	out.Unknown = f.unknown(out.Unknown)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func readModuleSigner(f *fields) ModuleSigner {
	var out ModuleSigner
	f.bytes("mrsigner", out.MRSigner[:])
	f.bytes("attributes", out.Attributes[:])
	f.bytes("attributesMask", out.Mask[:])
	return out
}

func (i *TCBInfo) readModules(f *fields) {
	for index, one := range f.array("tdxModuleIdentities", limits.modules) {
		module := fieldsOf(one, fmt.Sprintf("tcbInfo.tdxModuleIdentities[%d]", index), f.err)
		read := ModuleIdentity{ID: module.text("id"), ModuleSigner: readModuleSigner(module)}
		var major [1]byte
		digits, named := strings.CutPrefix(read.ID, "TDX_")
		if raw, err := hex.DecodeString(digits); named && err == nil && len(raw) == 1 {
			major[0] = raw[0]
		} else {
			module.wrong("id", "not TDX_ and two hex digits")
		}
		read.Major = major[0]
		for _, other := range i.Modules {
			if other.Major == read.Major {
				module.wrong("id", "twice")
			}
		}
		read.Levels = readSVNLevels(module, &i.Unknown)
		i.Unknown = module.unknown(i.Unknown)
		i.Modules = append(i.Modules, read)
	}
}

func (i *TCBInfo) readLevel(f *fields) Level {
	out := Level{Judgement: readJudgement(f)}
	value, _ := f.get("tcb", '{', "an object")
	tcb := fieldsOf(value, f.at+".tcb", f.err)
	i.readComponents(tcb, "sgxtcbcomponents", &out.SGX)
	i.readComponents(tcb, "tdxtcbcomponents", &out.TDX)
	out.PCESVN = uint16(tcb.uint("pcesvn", 1<<16-1)) //nolint:gosec // bounded
	// What a level asks for must be understood whole: a part that is passed over would be given away.
	tcb.closed()
	i.Unknown = f.unknown(i.Unknown)
	return out
}

func (i *TCBInfo) readComponents(f *fields, key string, into *[16]uint8) {
	list := f.array(key, len(into))
	if *f.err == nil && len(list) != len(into) {
		f.wrong(key, "%d components, want %d", len(list), len(into))
		return
	}
	for index, one := range list {
		component := fieldsOf(one, fmt.Sprintf("%s.%s[%d]", f.at, key, index), f.err)
		into[index] = uint8(component.uint("svn", 1<<8-1)) //nolint:gosec // bounded
		for _, words := range [...]string{"category", "type"} {
			if text, found := component.optional(words); found && text.kind != '"' {
				component.wrong(words, "not a text")
			}
		}
		i.Unknown = component.unknown(i.Unknown)
	}
}
