package imports_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/measurements/imports"
)

func hexOf(fill string, size int) string { return strings.Repeat(fill, size) }

// built is what nitro-cli prints, with lines in place of its registers.
func built(lines string) string {
	return "{\n  \"Measurements\": {\n    \"HashAlgorithm\": \"Sha384 { ... }\"" + lines + "\n  }\n}\n"
}

func pcr(name, digits string) string { return fmt.Sprintf(",\n    %q: %q", name, digits) }

var goodPCRs = pcr("PCR0", hexOf("a1", 48)) + pcr("PCR1", hexOf("b2", 48)) + pcr("PCR2", hexOf("c3", 48))

func TestNitroOutput(t *testing.T) {
	options := imports.Options{Name: "signer", Version: "7"}
	for name, doc := range map[string]string{
		"a build":                 built(goodPCRs),
		"a build with its words":  "Start building the Enclave Image...\nEnclave Image successfully created.\n" + built(goodPCRs),
		"a signed image":          built(goodPCRs + pcr("PCR8", hexOf("d4", 48))),
		"the hash without braces": strings.Replace(built(goodPCRs), "Sha384 { ... }", "Sha384", 1),
	} {
		result, err := imports.Nitro([]byte(doc), options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		value := result.Set.Values[0]
		if value.State != measurements.StateProposed || len(value.Registers) < 3 ||
			!bytes.Equal(value.Registers[1].Digest, digestOf(0xb2, 48)) || len(result.Left) > 0 {
			t.Errorf("%s: got %+v", name, result)
		}
	}
	described := `{"EifVersion": 4, "IsSigned": false, ` + built(goodPCRs)[1:]
	if result, err := imports.Nitro([]byte(described), options); err != nil || len(result.Left) != 2 {
		t.Errorf("got %+v, %v; want what is no measurement told", result, err)
	}
	for name, row := range map[string][2]string{
		"nothing":                 {"", "nitro-cli"},
		"no measurements":         {`{"a": 1}`, "no Measurements"},
		"no hash":                 {strings.Replace(built(goodPCRs), "HashAlgorithm", "PCR8", 1), "is not hex"},
		"another hash":            {strings.Replace(built(goodPCRs), "Sha384", "Sha512", 1), "want Sha384"},
		"a register missing":      {built(pcr("PCR0", hexOf("a1", 48)) + pcr("PCR1", hexOf("a1", 48))), "does not name PCR2"},
		"a register of zeros":     {strings.Replace(built(goodPCRs), hexOf("a1", 48), hexOf("00", 48), 1), "all zero"},
		"a short register":        {strings.Replace(built(goodPCRs), hexOf("a1", 48), hexOf("a1", 32), 1), "got 32 bytes"},
		"a register of no image":  {built(goodPCRs + pcr("PCR4", hexOf("a1", 48))), "not understood"},
		"a register twice":        {built(goodPCRs + pcr("PCR0", hexOf("a1", 48))), "nitro-cli"},
		"a register that is null": {strings.Replace(built(goodPCRs), `"`+hexOf("a1", 48)+`"`, "null", 1), "nitro-cli"},
		"something behind":        {built(goodPCRs) + "{}", "nitro-cli"},
	} {
		if result, err := imports.Nitro([]byte(row[0]), options); err == nil ||
			!strings.Contains(err.Error(), row[1]) {
			t.Errorf("%s: got %+v, %v; want %q", name, result, err, row[1])
		}
	}
	if _, err := imports.Nitro([]byte(built(goodPCRs)), imports.Options{Name: "a", Format: attestd.FormatTPM}); err == nil {
		t.Error("registers of an enclave were taken for a TPM's")
	}
}

// keylime is a policy for measured boot, changed.
func keylime(t testing.TB, change func(map[string]any)) []byte {
	t.Helper()
	key := func(data string) []any {
		return []any{map[string]any{"SignatureOwner": "8be4df61-93ca-11d2-aa0d-00e098032b8c", "SignatureData": data}}
	}
	digest := func(fill string) map[string]any { return map[string]any{"sha256": "0x" + hexOf(fill, 32)} }
	policy := map[string]any{
		"scrtm_and_bios": []any{map[string]any{
			"scrtm": digest("01"), "platform_firmware": []any{digest("02"), digest("03")},
		}},
		"pk": key("0x30" + hexOf("04", 99)), "kek": key("0x30" + hexOf("05", 99)),
		"db": key("0x30" + hexOf("06", 99)), "dbx": key("0x" + hexOf("07", 32)),
		"mokdig": []any{digest("08")}, "mokxdig": []any{},
		"kernels": []any{map[string]any{
			"shim_authcode_sha256": "0x" + hexOf("11", 32), "grub_authcode_sha256": "0x" + hexOf("12", 32),
			"kernel_authcode_sha256": "0x" + hexOf("13", 32), "initrd_plain_sha256": "0x" + hexOf("14", 32),
			"kernel_cmdline": "/boot/vmlinuz-6.* root=UUID=.*",
		}},
	}
	if change != nil {
		change(policy)
	}
	out, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestKeylimePolicies(t *testing.T) {
	result, err := imports.Keylime(keylime(t, nil), imports.Options{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	value := result.Set.Values[0]
	if len(result.Set.Values) != 1 || value.State != measurements.StateProposed || len(value.Rules) != 3 {
		t.Fatalf("got %+v", result.Set)
	}
	started := value.Rules[1].Roles[1]
	if value.Rules[1].Register != "PCR4" || started.Role != attestd.RoleApplication || len(started.Digests) != 3 ||
		!bytes.Equal(started.Digests[2], digestOf(0x13, 32)) {
		t.Errorf("PCR4: got %+v", value.Rules[1])
	}
	var left strings.Builder
	for _, one := range result.Left {
		left.WriteString(one.Where + ": " + one.What + "\n")
	}
	for _, want := range []string{"mokdig", "the command line is a regular expression", "initrd_plain_sha256",
		"authority is any"} {
		if !strings.Contains(left.String(), want) {
			t.Errorf("left:\n%s\nwant %q", left.String(), want)
		}
	}
	kernel := func(policy map[string]any) map[string]any {
		one, ok := policy["kernels"].([]any)[0].(map[string]any)
		if !ok {
			t.Fatal("no kernel")
		}
		return one
	}
	insecure := keylime(t, func(p map[string]any) {
		p["has_secureboot"], p["pk"], p["kek"], p["db"], p["dbx"] = false, []any{}, []any{}, []any{}, []any{}
		delete(kernel(p), "kernel_authcode_sha256")
		kernel(p)["vmlinuz_plain_sha256"] = "0x" + hexOf("15", 32)
	})
	if result, err = imports.Keylime(insecure, imports.Options{Name: "web"}); err != nil ||
		result.Set.Values[0].Rules[2].Roles[0].Texts[0] != "off" {
		t.Errorf("without Secure Boot: got %+v, %v", result, err)
	}
	for name, row := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"a runtime policy": {func(p map[string]any) { delete(p, "kernels"); p["digests"] = map[string]any{} },
			"runtime policy"},
		"an unknown key":    {func(p map[string]any) { p["more"] = 1 }, `"more" is not understood`},
		"no kernels":        {func(p map[string]any) { p["kernels"] = []any{} }, "want 1 to 64 kernels"},
		"no firmware":       {func(p map[string]any) { delete(p, "scrtm_and_bios") }, "no scrtm_and_bios"},
		"no pk":             {func(p map[string]any) { delete(p, "pk") }, "no pk"},
		"an empty dbx":      {func(p map[string]any) { p["dbx"] = []any{} }, "dbx is empty"},
		"a kernel's secret": {func(p map[string]any) { kernel(p)["more"] = "x" }, `"more" is not understood`},
		"no shim":           {func(p map[string]any) { delete(kernel(p), "shim_authcode_sha256") }, "shim_authcode_sha256"},
		"upper case":        {func(p map[string]any) { kernel(p)["shim_authcode_sha256"] = "0x" + hexOf("AA", 32) }, "lower-case"},
		"SHA-1":             {func(p map[string]any) { kernel(p)["shim_authcode_sha256"] = "0x" + hexOf("aa", 20) }, "has 20 bytes"},
		"a flag that is a word": {func(p map[string]any) { p["has_secureboot"] = "yes" },
			"neither true nor false"},
	} {
		if result, err := imports.Keylime(keylime(t, row.change), imports.Options{Name: "web"}); err == nil ||
			!strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %+v, %v; want %q", name, result, err, row.want)
		}
	}
}

// good is what every importer's Result must be: a document that is read again, and nothing that
// matches.
func good(t *testing.T, result *imports.Result, err error) {
	t.Helper()
	if err != nil {
		if result != nil {
			t.Fatal("a result and an error")
		}
		return
	}
	doc, err := result.Set.YAML()
	if err != nil {
		t.Fatal(err)
	}
	set, err := measurements.Parse("fuzz", doc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := measurements.NewIndex(set); err != nil && len(set.Values) <= 64 {
		t.Fatal(err)
	}
	for _, value := range set.Values {
		if value.State.Matches() {
			t.Fatalf("%q is %s", value.Name, value.State)
		}
	}
}

// FuzzCoRIM looks for files that panic, that become values which match or cannot be read, or that are
// read though the strictest CBOR reader of others refuses them.
func FuzzCoRIM(f *testing.F) {
	a := digestOf(0xa1, 48)
	f.Add(tagged(f, manifest(f, list{launch(a)}, nil)), true)
	f.Add(tagged(f, manifest(f, list{pcrTriple(dict{4: list{list{1, a[:32]}}})}, func(rim dict) { delete(rim, 3) })),
		false)
	f.Add(sealed(f, tagged(f, manifest(f, list{launch(a)}, nil)), mustKey(f), -7, nil, nil), true)
	f.Add([]byte{0xd9, 0x01, 0xf5, 0xa1}, true)
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: 64,
	}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file []byte, snp bool) {
		options := imports.Options{Name: "fuzz", At: noon, Format: attestd.FormatTPM, Parts: true}
		if snp {
			options.Format = ""
		}
		result, err := imports.CoRIM(file, options)
		good(t, result, err)
		if err == nil {
			if err := mode.Wellformed(file); err != nil {
				t.Fatalf("read, and yet not well-formed: %v", err)
			}
		}
	})
}

// FuzzNitro and FuzzKeylime look for the same in JSON.
func FuzzNitro(f *testing.F) {
	f.Add([]byte(built(goodPCRs)))
	f.Fuzz(func(t *testing.T, file []byte) {
		result, err := imports.Nitro(file, imports.Options{Name: "fuzz"})
		good(t, result, err)
	})
}

// FuzzKeylime is FuzzNitro for Keylime's policies.
func FuzzKeylime(f *testing.F) {
	f.Add(keylime(f, nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		result, err := imports.Keylime(file, imports.Options{Name: "fuzz"})
		good(t, result, err)
	})
}
