package sevsnp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

func inspected(t *testing.T, evidence []byte) (attestd.Inspection, map[string]attestd.InspectedField) {
	t.Helper()
	got, err := newVerifier(t).Inspect(evidence)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]attestd.InspectedField{}
	for _, field := range got.Fields {
		if _, double := fields[field.Name]; double {
			t.Errorf("field %s twice", field.Name)
		}
		fields[field.Name] = field
	}
	return got, fields
}

func TestInspectDecodesWhatWouldBeRefused(t *testing.T) {
	changed := func(product string, version uint32, change func(*forge.SNPReport)) []byte {
		report := forge.NewSNPReport(product, version)
		change(&report)
		return report.Bytes() // not signed
	}
	table, err := forge.SNPTable(forge.SNPTableEntry{GUID: forge.GUIDASK, Data: authority(t, "Milan").ASK.Raw})
	if err != nil {
		t.Fatal(err)
	}
	plain := forge.NewSNPReport("Milan", 3).Bytes()
	turin := forge.NewSNPReport("Turin", 5).Bytes()
	for _, row := range []struct {
		name, field, value, note string
		evidence                 []byte
	}{
		{"debug", "policy.debug", "1", "debug allowed: the host can read the guest",
			changed("Milan", 3, func(r *forge.SNPReport) { r.Policy |= 1 << 19 })},
		{"no debug", "policy.debug", "0", "debug forbidden", plain},
		{"version 6", "version", "6", "unknown version: the fields below may lie elsewhere",
			changed("Milan", 6, func(*forge.SNPReport) {})},
		{"Turin", "cpuid", "family 0x1a model 0x02 stepping 1", "", turin},
		{"Turin's TCB", "reported_tcb", "fmc=1 bootloader=1 tee=0 snp=4 microcode=82", "", turin},
		{"Turin's chip", "chip_id", "c0c1c2c3c4c5c6c7" + strings.Repeat("00", 56),
			"the first 8 bytes name the chip", turin},
		{"what follows Turin", "cpuid", "family 0x1a model 0x50 stepping 0",
			"CPUID family 0x1a model 0x50 stepping 0 (later than Turin): unsupported",
			changed("Turin", 5, func(r *forge.SNPReport) { r.CPUID = [3]byte{0x1a, 0x50, 0} })},
		{"its TCB is not guessed", "reported_tcb", "0101000400000052", "unknown order of bytes",
			changed("Turin", 5, func(r *forge.SNPReport) { r.CPUID = [3]byte{0x1a, 0x50, 0} })},
		{"a VLEK's report names no chip", "chip_id", strings.Repeat("00", 64), "none: a VLEK names no chip",
			changed("Milan", 3, func(r *forge.SNPReport) { *r = r.WithVLEK() })},
		{"IOMMU", "platform_info.iommu_write_safe", "1", "proof against CVE-2023-20585",
			changed("Milan", 5, func(r *forge.SNPReport) { r.PlatformInfo |= 1 << 6 })},
		{"TCB", "reported_tcb", "bootloader=4 tee=0 snp=25 microcode=219", "", plain},
		{"the host asked", "vmpl", "4294967295", "the host asked for this report",
			changed("Milan", 3, func(r *forge.SNPReport) { r.VMPL = 0xffffffff })},
		{"masked", "chip_id", strings.Repeat("00", 64), "masked by the host",
			changed("Milan", 3, func(r *forge.SNPReport) { r.ChipID = [64]byte{} })},
		{"VLEK", "signing_key", "1", "VLEK",
			changed("Milan", 3, func(r *forge.SNPReport) { r.KeyInfo = 1 << 2 })},
		{"reserved key", "signing_key", "3", "reserved",
			changed("Milan", 3, func(r *forge.SNPReport) { r.KeyInfo = 3 << 2 })},
		{"unknown policy bits", "policy.unknown", "0x4000000", "bits that AMD 56860 rev 1.58 leaves open",
			changed("Milan", 5, func(r *forge.SNPReport) { r.Policy |= 1 << 26 })},
		{"unknown platform bits", "platform_info.unknown", "0x100",
			"bits that AMD 56860 rev 1.58 leaves open",
			changed("Milan", 5, func(r *forge.SNPReport) { r.PlatformInfo |= 1 << 8 })},
		{"roll-back possible", "current_version", "1.55.49", "not committed: can be rolled back",
			changed("Milan", 3, func(r *forge.SNPReport) { r.Kept[0]-- })},
		{"mitigations", "launch_mit_vector", "0xb", "",
			changed("Milan", 5, func(*forge.SNPReport) {})},
		{"migration agent", "report_id_ma", strings.Repeat("ff", 32), "no migration agent", plain},
		{"a broken table", "certificate_table", "5 bytes", "unreadable: 5 bytes behind the report",
			append(forge.NewSNPReport("Milan", 3).Bytes(), 1, 2, 3, 4, 5)},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, fields := inspected(t, row.evidence)
			field, found := fields[row.field]
			if !found || field.Value != row.value || field.Note != row.note {
				t.Errorf("%s is %q, %q; want %q, %q", row.field, field.Value, field.Note, row.value, row.note)
			}
		})
	}
	_, fields := inspected(t, append(plain, table...))
	if _, found := fields["certificate_table.ask"]; !found {
		t.Error("the table's ASK is not shown")
	}
}

func TestInspectNamesWhereAMDServesTheVCEK(t *testing.T) {
	for product, want := range map[string]string{
		"Milan":   "https://kdsintf.amd.com/vcek/v1/Milan/c0c1",
		"Bergamo": "https://kdsintf.amd.com/vcek/v1/Genoa/c0c1",
		"Turin-Dense": "https://kdsintf.amd.com/vcek/v1/Turin/c0c1c2c3c4c5c6c7?" +
			"fmcSPL=01&blSPL=01&teeSPL=00&snpSPL=04&ucodeSPL=82",
	} {
		_, fields := inspected(t, forge.NewSNPReport(product, 3).Bytes())
		url := fields["vcek_url"].Value
		if !strings.HasPrefix(url, want) || !strings.Contains(url, "blSPL=") {
			t.Errorf("vcek_url of %s is %s", product, url)
		}
	}
	_, fields := inspected(t, forge.NewSNPReport("Milan", 3).WithVLEK().Bytes())
	if field, found := fields["vcek_url"]; found {
		t.Errorf("a report that a VLEK signed names no chip, got %s", field.Value)
	}
}

func TestInspectRefusesWhatIsNoReport(t *testing.T) {
	for _, evidence := range [][]byte{nil, make([]byte, 1183), make([]byte, 1<<20)} {
		_, err := newVerifier(t).Inspect(evidence)
		var rejected *attestd.EvidenceError
		if !errors.As(err, &rejected) || rejected.Check != "sev-snp/size" {
			t.Errorf("%d bytes: %v", len(evidence), err)
		}
	}
}
