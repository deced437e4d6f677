package imports

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/measurements"
)

// keylimeKeys are those of a reference state for measured boot (keylime/mba/elchecking/example.py).
var keylimeKeys = []string{
	"has_secureboot", "scrtm_and_bios", "pk", "kek", "db", "dbx", "vendor_db", "mokdig", "mokxdig",
	"kernels",
}

// bootManager is the event in PCR4 that precedes what firmware boots, the SHA-256 of the text "Calling
// EFI Application from Boot Option" (TCG PC Client PFP 1.06, section 10.4.4, EV_EFI_ACTION).
const bootManager = "Calling EFI Application from Boot Option"

// Keylime reads a policy of Keylime's for measured boot, the reference state that its "example" policy
// takes. Each of its kernels with each of its firmwares becomes one value of a TPM in the bank SHA-256,
// with rules for PCR0, PCR4 and PCR7. What Keylime checks of PCR8, PCR9 and PCR14 is left: its patterns
// are regular expressions, and it lets pass what is not among them, which closed rules do not.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the file is not that, or is a runtime policy,
// which says what may run and not what booted.
func Keylime(file []byte, options Options) (*Result, error) {
	r, err := read(options)
	if err != nil {
		return nil, err
	}
	if options.Format != "" && options.Format != attestd.FormatTPM || r.options.Bank != "sha256" {
		return nil, refuse("drop --format and --bank", "a policy of Keylime's is for tpm, in the bank sha256")
	}
	r.result.Set.Format, r.result.Set.Bank = attestd.FormatTPM, "sha256"
	var whole map[string]any
	if err := strict.DecodeJSON(file, strict.JSONLimits{Bytes: MaxFile, Depth: 16}, &whole); err != nil {
		return nil, malformed("policy of Keylime's: %w", err)
	}
	if _, ok := whole["digests"]; ok && whole["kernels"] == nil {
		return nil, refuse("attestd names executables in a workloads document, docs/workloads.md; what a node "+
			"booted is in Keylime's policy for measured boot",
			"this is a runtime policy of Keylime's, which lists files and no registers")
	}
	for _, key := range sortedKeys(whole) {
		if !slices.Contains(keylimeKeys, key) {
			return nil, malformed("policy of Keylime's: %q is not understood", attestd.Excerpt(key, 40))
		}
	}
	secureBoot := true
	if given, ok := whole["has_secureboot"]; ok {
		if secureBoot, ok = given.(bool); !ok {
			return nil, malformed("policy of Keylime's: has_secureboot is neither true nor false")
		}
	}
	policy, err := keylimePolicyRules(whole, secureBoot)
	if err != nil {
		return nil, err
	}
	firmwares, err := keylimeFirmwares(whole)
	if err != nil {
		return nil, err
	}
	kernels, ok := whole["kernels"].([]any)
	if !ok || len(kernels) == 0 || len(kernels)*len(firmwares) > 64 {
		return nil, malformed("policy of Keylime's: want 1 to 64 kernels times firmwares")
	}
	for _, left := range []string{"vendor_db", "mokdig", "mokxdig"} {
		if given, ok := whole[left].([]any); ok && len(given) > 0 {
			r.left(left, "is no part of the rules: of shim's own lists a TPM's log has no role here")
		}
	}
	r.left("PCR7", "authority is any, as Keylime takes any signer of shim: pk, kek and db say who may sign")
	for number, kernel := range kernels {
		where := fmt.Sprintf("kernel %d", number+1)
		loaded, err := r.keylimeKernel(where, kernel, secureBoot)
		if err != nil {
			return nil, err
		}
		for at, firmware := range firmwares {
			wish := fmt.Sprintf("kernel-%d", number+1)
			if len(firmwares) > 1 {
				wish += fmt.Sprintf("-firmware-%d", at+1)
			}
			r.add(where, wish, measurements.Value{
				Rules: []measurements.RegisterRules{firmware, loaded, policy},
			})
		}
	}
	return r.done()
}

// keylimeFirmwares returns the rules of PCR0, one for each firmware.
func keylimeFirmwares(whole map[string]any) (rules []measurements.RegisterRules, err error) {
	firmwares, ok := whole["scrtm_and_bios"].([]any)
	if !ok || len(firmwares) == 0 {
		return nil, malformed("policy of Keylime's: no scrtm_and_bios")
	}
	for number, one := range firmwares {
		where := fmt.Sprintf("scrtm_and_bios %d", number+1)
		firmware, ok := one.(map[string]any)
		blobs, isList := firmware["platform_firmware"].([]any)
		if !ok || !isList || len(blobs) == 0 || len(firmware) != 2 {
			return nil, malformed("policy of Keylime's: %s: want scrtm and platform_firmware", where)
		}
		scrtm, err := keylimeDigest(where, firmware["scrtm"])
		if err != nil {
			return nil, err
		}
		rule := measurements.Rule{Role: attestd.RoleFirmware, Demand: measurements.DemandDigest}
		for _, blob := range blobs {
			digest, err := keylimeDigest(where, blob)
			if err != nil {
				return nil, err
			}
			rule.Digests = append(rule.Digests, digest)
		}
		rules = append(rules, measurements.RegisterRules{Register: "PCR0", Roles: []measurements.Rule{
			{Role: attestd.RoleOther, Demand: measurements.DemandDigest, Digests: [][]byte{scrtm}},
			rule, {Role: attestd.RoleSeparator, Demand: measurements.DemandAny},
		}})
	}
	return rules, nil
}

// keylimePolicyRules returns the rules of PCR7.
func keylimePolicyRules(
	whole map[string]any, secureBoot bool,
) (rules measurements.RegisterRules, err error) {
	rules.Register = "PCR7"
	state := "on"
	if !secureBoot {
		state = "off"
	}
	rules.Roles = append(rules.Roles, measurements.Rule{
		Role: attestd.RoleSecureBoot, Demand: measurements.DemandText, Texts: []string{state},
	})
	for _, row := range []struct {
		key    string
		role   attestd.Role
		demand measurements.Demand
	}{
		{"pk", attestd.RolePK, measurements.DemandEntry},
		{"kek", attestd.RoleKEK, measurements.DemandEntry},
		{"db", attestd.RoleDB, measurements.DemandEntry},
		{"dbx", attestd.RoleDBX, measurements.DemandContains},
	} {
		given, ok := whole[row.key].([]any)
		switch {
		case !ok:
			return rules, malformed("policy of Keylime's: no %s", row.key)
		case len(given) == 0 && secureBoot:
			return rules, malformed("policy of Keylime's: %s is empty, which nothing meets", row.key)
		case len(given) == 0:
			rules.Roles = append(rules.Roles, measurements.Rule{Role: row.role, Demand: measurements.DemandAny})
			continue
		}
		rule := measurements.Rule{Role: row.role, Demand: row.demand}
		for number, one := range given {
			entry, err := keylimeEntry(fmt.Sprintf("%s %d", row.key, number+1), one)
			if err != nil {
				return rules, err
			}
			if !slices.ContainsFunc(rule.Digests, func(d []byte) bool { return slices.Equal(d, entry) }) {
				rule.Digests = append(rule.Digests, entry)
			}
		}
		rules.Roles = append(rules.Roles, rule)
	}
	rules.Roles = append(rules.Roles,
		measurements.Rule{Role: attestd.RoleSeparator, Demand: measurements.DemandAny})
	if secureBoot {
		rules.Roles = append(rules.Roles,
			measurements.Rule{Role: attestd.RoleAuthority, Demand: measurements.DemandAny})
	}
	return rules, nil
}

// keylimeKernel returns the rules of PCR4 and tells what else is said of a kernel.
func (r *reading) keylimeKernel(
	where string, one any, secureBoot bool,
) (rules measurements.RegisterRules, err error) {
	kernel, ok := one.(map[string]any)
	if !ok {
		return rules, malformed("policy of Keylime's: %s is no map", where)
	}
	images := []string{"shim_authcode_sha256", "grub_authcode_sha256", "kernel_authcode_sha256"}
	if !secureBoot {
		images = images[:2] // GRUB starts the kernel without the firmware then
	}
	action := sha256.Sum256([]byte(bootManager))
	started := measurements.Rule{Role: attestd.RoleApplication, Demand: measurements.DemandDigest}
	for _, key := range images {
		digest, err := keylimeHex(where+", "+key, kernel[key])
		if err != nil {
			return rules, err
		}
		if len(digest) != sha256.Size {
			return rules, malformed("policy of Keylime's: %s, %s has %d bytes, want 32", where, key, len(digest))
		}
		started.Digests = append(started.Digests, digest)
	}
	for _, key := range sortedKeys(kernel) {
		switch {
		case slices.Contains(images, key):
		case key == "kernel_cmdline":
			r.left(where, "the command line is a regular expression; write it as PCR8 rules, from `attestd "+
				"measure --rules`: %v", kernel[key])
		case key == "initrd_plain_sha256" || key == "vmlinuz_plain_sha256":
			r.left(where, "%s is measured by GRUB into PCR9 beside files that the policy does not name: %v",
				key, kernel[key])
		default:
			return rules, malformed("policy of Keylime's: %s: %q is not understood", where,
				attestd.Excerpt(key, 40))
		}
	}
	return measurements.RegisterRules{Register: "PCR4", Roles: []measurements.Rule{
		{Role: attestd.RoleOther, Demand: measurements.DemandDigest, Digests: [][]byte{action[:]}},
		started, {Role: attestd.RoleSeparator, Demand: measurements.DemandAny},
	}}, nil
}

// keylimeDigest reads a map from algorithms to digests, and of it SHA-256.
func keylimeDigest(where string, given any) ([]byte, error) {
	digests, ok := given.(map[string]any)
	if !ok {
		return nil, malformed("policy of Keylime's: %s: want digests by algorithm", where)
	}
	digest, err := keylimeHex(where, digests["sha256"])
	if err == nil && len(digest) != sha256.Size {
		return nil, malformed("policy of Keylime's: %s: got %d bytes, want 32 (sha256)", where, len(digest))
	}
	return digest, err
}

// keylimeHex reads "0x" and lower-case hex.
func keylimeHex(where string, given any) ([]byte, error) {
	text, _ := given.(string)
	digits, ok := strings.CutPrefix(text, "0x")
	out, err := hex.DecodeString(digits)
	if !ok || err != nil || len(out) == 0 || strings.ToLower(digits) != digits {
		return nil, malformed("policy of Keylime's: %s: want 0x and lower-case hex, got %q", where,
			attestd.Excerpt(text, 20))
	}
	return out, nil
}

// keylimeEntry reads {SignatureOwner, SignatureData}: a certificate by the SHA-256 of its DER, a hash
// as it stands.
func keylimeEntry(where string, given any) ([]byte, error) {
	entry, ok := given.(map[string]any)
	if !ok || len(entry) != 2 || entry["SignatureOwner"] == nil {
		return nil, malformed("policy of Keylime's: %s: want SignatureOwner and SignatureData", where)
	}
	data, err := keylimeHex(where, entry["SignatureData"])
	switch {
	case err != nil:
		return nil, err
	case slices.Contains([]int{20, 28, 32, 48, 64}, len(data)):
		return data, nil
	case len(data) > 64 && data[0] == 0x30:
		sum := sha256.Sum256(data)
		return sum[:], nil
	default:
		return nil, malformed("policy of Keylime's: %s is neither a certificate nor a hash", where)
	}
}
