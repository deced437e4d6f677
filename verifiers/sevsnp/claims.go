package sevsnp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// seal makes Claims of a report that passed every check.
func seal(
	t *trail.Trail, rep report, key *vcek, revoked revocation, input attestd.Input,
) *attestd.Claims {
	if !rep.hasCPUID() {
		rep.model.name = string(key.issuer.line) // and no line: a named product's levels are not its
	}
	bound, _ := input.Demand.Key()
	return attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
		Format:         attestd.FormatSEVSNP,
		Summary:        rep.summary(),
		Product:        rep.model.name,
		EvidenceDigest: sha256.Sum256(input.Evidence),
		Facts:          facts(rep, key, revoked),
		Registers: []attestd.Register{{
			Name: "MEASUREMENT", Algorithm: "SHA384", Digest: bytes.Clone(rep.measurement()),
		}},
		Handles:       handles(rep),
		Checks:        t.Checks(),
		Freshness:     freshness(input.Demand),
		KeySPKI:       bytes.Clone(bound),
		InsecureRoots: key.issuer.insecure,
	})
}

func (r report) summary() string {
	name := r.model.name
	if r.model == modelBergamo {
		name = "Bergamo or Siena"
	}
	if name == "" {
		name = "unknown product"
	}
	return name + ", report v" + strconv.FormatUint(uint64(r.version), 10)
}

func freshness(demand attestd.Demand) attestd.Freshness {
	switch {
	case demand.IsBinding():
		return attestd.FreshnessBinding
	case demand.IsRecorded():
		// A nonce may have matched, but nobody vouches that it was ours and new.
		return attestd.FreshnessNotShown
	default:
		return attestd.FreshnessNonce
	}
}

func handles(rep report) []attestd.Handle {
	out := make([]attestd.Handle, 0, 2)
	if rep.namesChip() {
		out = append(out, attestd.Handle{
			Kind: attestd.HandleHost, Value: hex.EncodeToString(rep.chipID())})
	}
	if id := rep.reportID(); !allBytes(id, 0) {
		out = append(out, attestd.Handle{Kind: attestd.HandleBoot, Value: hex.EncodeToString(id)})
	}
	return out
}

// facts lists every fact of factSpecs, in that order.
func facts(rep report, key *vcek, revoked revocation) []attestd.Fact {
	out := make([]attestd.Fact, 0, len(factSpecs))
	add := func(name string, value attestd.Value) {
		out = append(out, attestd.Fact{Name: name, Value: value})
	}
	identityFacts(rep, key, add)
	policyFacts(rep, add)
	platformFacts(rep, add)
	tcbFacts(rep, add)
	ownerFacts(rep, add)
	add("vcek_sha256", attestd.Bytes(key.digest[:]))
	add("vcek_not_after", attestd.Time(key.cert.NotAfter))
	revoked.facts(add)
	return out
}

type adder func(name string, value attestd.Value)

// visible keeps a field that this report does not have from being read as a "no".
func visible(has bool, value attestd.Value) attestd.Value {
	if !has {
		return attestd.NotVisible()
	}
	return value
}

func identityFacts(rep report, key *vcek, add adder) {
	family, number, stepping := rep.fms()
	add("report_version", attestd.Uint(uint64(rep.version)))
	add("product", attestd.Text(rep.model.name))
	add("kds_product", attestd.Text(key.product))
	add("cpuid_family", visible(rep.hasCPUID(), attestd.Uint(uint64(family))))
	add("cpuid_model", visible(rep.hasCPUID(), attestd.Uint(uint64(number))))
	add("cpuid_stepping", visible(rep.hasCPUID(), attestd.Uint(uint64(stepping))))
	add("measurement", attestd.Bytes(rep.measurement()))
	add("report_data", attestd.Bytes(rep.reportData()))
	add("host_data", attestd.Bytes(rep.raw[offHostData:offIDKeyDigest]))
	add("report_id", attestd.Bytes(rep.reportID()))
	add("migration_agent", attestd.Bool(rep.migrationAgent()))
	add("chip_id", visible(rep.namesChip(), attestd.Bytes(rep.chipID())))
	add("chip_id_masked", visible(key.kind == kindVCEK, attestd.Bool(rep.chipIDMasked())))
	add("mask_chip_key", attestd.Bool(rep.u32(offKeyInfo)&keyInfoMaskChipKey != 0))
	add("signing_key", attestd.Text(key.kind.String()))
	add("csp_id", visible(key.kind == kindVLEK, attestd.Text(key.csp)))
	add("vmpl", attestd.Uint(uint64(rep.vmpl())))
	add("host_requested", attestd.Bool(rep.vmpl() == hostRequestVMPL))
	add("guest_svn", attestd.Uint(uint64(rep.u32(4))))
}

func policyFacts(rep report, add adder) {
	policy := rep.policy()
	flag := func(bit uint64) attestd.Value { return attestd.Bool(policy&bit != 0) }
	add("policy", attestd.Uint(policy))
	add("policy_abi", attestd.Uint(policy&0xffff))
	add("debug", flag(policyDebug))
	add("migrate_ma", flag(policyMigrateMA))
	add("policy_smt_allowed", flag(policySMT))
	add("policy_single_socket", flag(policySingleSocket))
	add("policy_cxl_allowed", flag(policyCXL))
	add("policy_mem_aes_256_xts", flag(policyAES256XTS))
	add("policy_rapl_disabled", flag(policyRAPLDisabled))
	add("policy_ciphertext_hiding", flag(policyCiphertextHiding))
	add("policy_page_swap_disabled", visible(rep.hasMIT(), flag(policyPageSwapDisabled)))
}

func platformFacts(rep report, add adder) {
	info := rep.platformInfo()
	flag := func(bit uint64) attestd.Value { return attestd.Bool(info&bit != 0) }
	add("platform_info", attestd.Uint(info))
	add("smt_enabled", flag(platformSMT))
	add("tsme_enabled", flag(platformTSME))
	add("ecc_enabled", flag(platformECC))
	add("rapl_disabled", flag(platformRAPLDisabled))
	add("ciphertext_hiding_enabled", flag(platformCiphertextHiding))
	add("alias_check_complete", visible(rep.hasCPUID(), flag(platformAliasCheck)))
	add("iommu_write_safe", visible(rep.hasMIT(), flag(platformIOMMUWriteSafe)))
	add("tio_enabled", visible(rep.hasMIT(), flag(platformTIO)))
	add("unknown_bits", attestd.Bool(rep.unknownPolicy() != 0 || rep.unknownPlatform() != 0))
	add("unknown_policy_bits", attestd.Uint(rep.unknownPolicy()))
	add("unknown_platform_bits", attestd.Uint(rep.unknownPlatform()))
}

func tcbFacts(rep report, add adder) {
	current, reported := rep.tcb(offCurrentTCB), rep.tcb(offReportedTCB)
	committed, launch := rep.tcb(offCommittedTCB), rep.tcb(offLaunchTCB)
	add("current_tcb", current.value())
	add("reported_tcb", reported.value())
	add("committed_tcb", committed.value())
	add("launch_tcb", launch.value())
	add("tcb_ordered", attestd.Bool(reported.noneAbove(committed) && committed.noneAbove(current)))
	add("current_version", attestd.Text(rep.firmware(offCurrentVersion)))
	add("committed_version", attestd.Text(rep.firmware(offCommittedVer)))
	add("provisional_firmware", attestd.Bool(rep.provisional()))
	add("launch_mit_vector", visible(rep.hasMIT(), attestd.Uint(rep.u64(offLaunchMIT))))
	add("current_mit_vector", visible(rep.hasMIT(), attestd.Uint(rep.u64(offCurrentMIT))))
	for _, fix := range mitigations {
		add(fix.fact, fix.shown(rep.model, reported))
	}
}

func ownerFacts(rep report, add adder) {
	add("author_key_enabled", attestd.Bool(rep.u32(offKeyInfo)&keyInfoAuthorKey != 0))
	add("id_key_digest", attestd.Bytes(rep.raw[offIDKeyDigest:offAuthorKeyDigest]))
	add("author_key_digest", attestd.Bytes(rep.raw[offAuthorKeyDigest:offReportID]))
	add("family_id", attestd.Bytes(rep.raw[offFamilyID:offImageID]))
	add("image_id", attestd.Bytes(rep.raw[offImageID:offVMPL]))
}

// firmware returns a version in the order in which people say it; the report has it backwards.
func (r report) firmware(offset int) string {
	out := make([]byte, 0, len("255.255.255."))
	for _, part := range []byte{r.raw[offset+2], r.raw[offset+1], r.raw[offset]} {
		out = append(strconv.AppendUint(out, uint64(part), 10), '.')
	}
	return string(out[:len(out)-1])
}
