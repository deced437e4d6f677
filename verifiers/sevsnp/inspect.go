package sevsnp

import (
	"encoding/hex"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Inspect implements verifiers.Verifier. Reports of an unknown version or product, and reports that
// would be refused for their layout, are decoded all the same as far as their bytes go: that is when
// a person needs to look at them.
func (v *Verifier) Inspect(evidence []byte) (attestd.Inspection, error) {
	if len(evidence) < reportSize || len(evidence) > limits.evidence {
		t := trail.New(table)
		_, _, bad := read(t, evidence)
		return attestd.Inspection{}, bad.end(t)
	}
	rep := report{raw: evidence[:reportSize:reportSize]}
	rep.version = rep.u32(0)
	var notes inspection
	if bad := rep.checkProductKnown(); bad != nil {
		notes.product = bad.got + ": unsupported"
	}
	notes.head(rep)
	notes.policy(rep)
	notes.platform(rep)
	notes.body(rep)
	notes.tcbs(rep)
	notes.table(evidence[reportSize:])
	return attestd.Inspection{
		Format: attestd.FormatSEVSNP, Summary: rep.summary(), Fields: notes.fields,
	}, nil
}

type inspection struct {
	fields  []attestd.InspectedField
	product string
}

func (i *inspection) add(name, value, note string) {
	i.fields = append(i.fields, attestd.InspectedField{Name: name, Value: value, Note: note})
}

func (i *inspection) bit(name string, word, bit uint64, set, clear string) {
	if word&bit != 0 {
		i.add(name, "1", set)
		return
	}
	i.add(name, "0", clear)
}

func (i *inspection) head(rep report) {
	note := ""
	if rep.checkReportVersion() != nil {
		note = "unknown version: the fields below may lie elsewhere"
	}
	i.add("version", fmt.Sprint(rep.version), note)
	if rep.hasCPUID() {
		family, number, stepping := rep.fms()
		i.add("cpuid", fmt.Sprintf("family 0x%02x model 0x%02x stepping %d", family, number, stepping),
			i.product)
	}
	i.add("guest_svn", fmt.Sprint(rep.u32(4)), "")
}

func (i *inspection) policy(rep report) {
	policy := rep.policy()
	i.add("policy", fmt.Sprintf("0x%x", policy), "")
	i.add("policy.abi", fmt.Sprintf("%d.%d", policy>>8&0xff, policy&0xff), "least firmware ABI")
	i.bit("policy.smt", policy, policySMT, "SMT allowed", "SMT forbidden")
	i.bit("policy.migrate_ma", policy, policyMigrateMA, "migration agent allowed", "no migration")
	i.bit("policy.debug", policy, policyDebug, "debug allowed: the host can read the guest",
		"debug forbidden")
	i.bit("policy.single_socket", policy, policySingleSocket, "one socket only", "any socket")
	i.bit("policy.cxl_allow", policy, policyCXL, "CXL allowed", "CXL forbidden")
	i.bit("policy.mem_aes_256_xts", policy, policyAES256XTS, "AES-256-XTS demanded", "")
	i.bit("policy.rapl_dis", policy, policyRAPLDisabled, "RAPL off demanded", "")
	i.bit("policy.ciphertext_hiding_dram", policy, policyCiphertextHiding,
		"ciphertext hiding demanded", "")
	if rep.hasMIT() {
		i.bit("policy.page_swap_disable", policy, policyPageSwapDisabled, "page swap forbidden", "")
	}
	if unknown := rep.unknownPolicy(); unknown != 0 {
		i.add("policy.unknown", fmt.Sprintf("0x%x", unknown), "bits that AMD 56860 rev 1.58 leaves open")
	}
}

func (i *inspection) platform(rep report) {
	info, key := rep.platformInfo(), uint64(rep.u32(offKeyInfo))
	i.add("platform_info", fmt.Sprintf("0x%x", info), "")
	i.bit("platform_info.smt_en", info, platformSMT, "SMT on", "SMT off")
	i.bit("platform_info.tsme_en", info, platformTSME, "TSME on", "TSME off")
	i.bit("platform_info.ecc_en", info, platformECC, "ECC on", "ECC off or not reported")
	i.bit("platform_info.rapl_dis", info, platformRAPLDisabled, "RAPL off", "RAPL on")
	i.bit("platform_info.ciphertext_hiding_dram_en", info, platformCiphertextHiding,
		"ciphertext hidden", "ciphertext visible to the host")
	if rep.hasCPUID() {
		i.bit("platform_info.alias_check_complete", info, platformAliasCheck,
			"memory checked for aliases", "memory not checked for aliases (BadRAM)")
	}
	if rep.hasMIT() {
		i.bit("platform_info.iommu_write_safe", info, platformIOMMUWriteSafe,
			"proof against CVE-2023-20585", "not proof against CVE-2023-20585")
		i.bit("platform_info.tio_en", info, platformTIO, "TIO on", "TIO off")
	}
	if unknown := rep.unknownPlatform(); unknown != 0 {
		i.add("platform_info.unknown", fmt.Sprintf("0x%x", unknown),
			"bits that AMD 56860 rev 1.58 leaves open")
	}
	kinds := map[uint32]string{0: "VCEK", 1: "VLEK", 7: "none: the report is not signed"}
	note, known := kinds[rep.signingKey()]
	if !known {
		note = "reserved"
	}
	i.add("signing_key", fmt.Sprint(rep.signingKey()), note)
	i.bit("mask_chip_key", key, keyInfoMaskChipKey, "the host masks the chip's key", "")
	i.bit("author_key_en", key, keyInfoAuthorKey, "author key given", "no author key")
}

func (i *inspection) body(rep report) {
	vmpl := ""
	if rep.vmpl() == hostRequestVMPL {
		vmpl = "the host asked for this report"
	}
	i.add("vmpl", fmt.Sprint(rep.vmpl()), vmpl)
	for _, field := range []struct {
		name        string
		from, until int
	}{
		{"report_data", offReportData, offMeasurement}, {"measurement", offMeasurement, offHostData},
		{"host_data", offHostData, offIDKeyDigest},
		{"id_key_digest", offIDKeyDigest, offAuthorKeyDigest},
		{"author_key_digest", offAuthorKeyDigest, offReportID},
		{"family_id", offFamilyID, offImageID}, {"image_id", offImageID, offVMPL},
		{"report_id", offReportID, offReportIDMA}, {"report_id_ma", offReportIDMA, offReportedTCB},
		{"chip_id", offChipID, offCommittedTCB},
	} {
		raw, note := rep.raw[field.from:field.until], ""
		switch {
		case field.name == "chip_id" && allBytes(raw, 0) && rep.signingKey() == uint32(kindVLEK):
			note = "none: a VLEK names no chip"
		case field.name == "chip_id" && allBytes(raw, 0):
			note = "masked by the host"
		case field.name == "chip_id" && rep.turin():
			note = "the first 8 bytes name the chip"
		case field.name == "report_id_ma" && allBytes(raw, 0xff):
			note = "no migration agent"
		}
		i.add(field.name, hex.EncodeToString(raw), note)
	}
}

func (i *inspection) tcbs(rep report) {
	for _, field := range []struct {
		name string
		at   int
	}{
		{"current_tcb", offCurrentTCB}, {"reported_tcb", offReportedTCB},
		{"committed_tcb", offCommittedTCB}, {"launch_tcb", offLaunchTCB},
	} {
		if i.product != "" {
			// The order of the bytes is the product's; guessing it would print wrong levels.
			i.add(field.name, hex.EncodeToString(rep.raw[field.at:field.at+8]), "unknown order of bytes")
			continue
		}
		i.add(field.name, rep.tcb(field.at).String(), "")
	}
	note := ""
	if rep.provisional() {
		note = "not committed: can be rolled back"
	}
	i.add("current_version", rep.firmware(offCurrentVersion), note)
	i.add("committed_version", rep.firmware(offCommittedVer), "")
	if rep.hasMIT() {
		i.add("launch_mit_vector", fmt.Sprintf("0x%x", rep.u64(offLaunchMIT)), "")
		i.add("current_mit_vector", fmt.Sprintf("0x%x", rep.u64(offCurrentMIT)), "")
	}
	i.url(rep)
}

// url says where AMD serves the VCEK. A VLEK has no such place: the host's cloud hands it out.
func (i *inspection) url(rep report) {
	if i.product != "" || rep.signingKey() != uint32(kindVCEK) || rep.chipIDMasked() {
		return
	}
	name := "PRODUCT"
	if rep.model.line != "" {
		name = string(rep.model.line)
	}
	level, fmc := rep.tcb(offReportedTCB), ""
	if level.turin {
		fmc = fmt.Sprintf("fmcSPL=%02d&", level.fmc)
	}
	i.add("vcek_url", fmt.Sprintf(
		"https://kdsintf.amd.com/vcek/v1/%s/%x?%sblSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d",
		name, rep.chipID(), fmc, level.bootloader, level.tee, level.snp, level.microcode),
		"where AMD serves the VCEK of this chip and TCB")
}

func (i *inspection) table(rest []byte) {
	if len(rest) == 0 {
		return
	}
	certs, bad := parseTable(rest)
	if bad != nil {
		i.add("certificate_table", fmt.Sprintf("%d bytes", len(rest)), "unreadable: "+bad.got)
		return
	}
	for _, entry := range []struct {
		name string
		der  []byte
	}{{"vcek", certs.vcek}, {"vlek", certs.vlek}, {"ask", certs.ask}, {"ark", certs.ark}} {
		if entry.der != nil {
			digest := digestOf(entry.der)
			i.add("certificate_table."+entry.name, fmt.Sprintf("%d bytes of DER", len(entry.der)),
				"sha256 "+hex.EncodeToString(digest[:8])+"..")
		}
	}
}
