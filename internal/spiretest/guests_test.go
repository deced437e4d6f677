package spiretest_test

import (
	"bytes"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	fs2 "io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/tsmfs"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/swtpm/paravisor"
	"github.com/attestd/attestd/testvectors/forge"
)

// cpuMakers are test authorities over CPUs, and a part of each.
type cpuMakers struct {
	amd   *forge.AMD
	vcek  forge.VCEK
	table []byte
	intel *forge.Intel
	pck   forge.PCK
}

var makersOfCPUs = sync.OnceValues(func() (out cpuMakers, err error) {
	if out.amd, err = forge.NewAMD(forge.AMDConfig{Line: "Genoa"}); err != nil {
		return out, err
	}
	if out.vcek, err = out.amd.IssueVCEK(forge.NewSNPReport("Genoa", 3).VCEKConfig("Genoa-B1")); err != nil {
		return out, err
	}
	out.table, err = forge.SNPTable(forge.SNPTableEntry{GUID: forge.GUIDVCEK, Data: out.vcek.DER},
		forge.SNPTableEntry{GUID: forge.GUIDASK, Data: out.amd.ASK.Raw})
	if err != nil {
		return out, err
	}
	if out.intel, err = forge.NewIntel(forge.IntelConfig{}); err != nil {
		return out, err
	}
	out.pck, err = out.intel.IssuePCK(forge.NewPCKConfig())
	return out, err
})

func cpus(t *testing.T) cpuMakers {
	t.Helper()
	made, err := makersOfCPUs()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// snpGuest and tdxGuest are what the kernel answers in a guest of the kind.
func (c cpuMakers) snpGuest() tsmfs.Reports {
	return tsmfs.Reports{Provider: "sev_guest", Beside: c.table, Make: func(data []byte) ([]byte, error) {
		report := forge.NewSNPReport("Genoa", 3)
		report.ReportData = [64]byte(data)
		return forge.SignSNP(report.Bytes(), c.vcek.Key)
	}}
}

func (c cpuMakers) tdxGuest() tsmfs.Reports {
	return tsmfs.Reports{Provider: "tdx_guest", Make: func(data []byte) ([]byte, error) {
		quote := forge.NewTDQuote(4)
		quote.ReportData = [64]byte(data)
		signed, err := quote.Sign(c.pck)
		return append(signed, make([]byte, 100)...), err
	}}
}

// mounted mounts a configfs-tsm until the test ends.
func mounted(t *testing.T, reports tsmfs.Reports) *tsmfs.FS {
	t.Helper()
	folder, err := os.MkdirTemp(made.folder, "c")
	if err != nil {
		t.Fatal(err)
	}
	fs, err := tsmfs.Mount(folder, reports)
	if errors.Is(err, fs2.ErrNotExist) || errors.Is(err, fs2.ErrPermission) {
		t.Skipf("no file system can be mounted here: %v; make spire-test runs this as root with /dev/fuse", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := fs.Left(); left != 0 {
			t.Errorf("%d entries were left behind", left)
		}
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

// guestHouse is a house whose attestd takes CPUs of the test authorities, with Intel's statements about
// them.
func guestHouse(t *testing.T) *house {
	t.Helper()
	h := arrange(t, houseConfig{profile: fast})
	made := cpus(t)
	roots := filepath.Join(h.state, "cpus.pem")
	write(t, roots, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.amd.ARK.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.intel.Root.Raw})...))
	config, err := os.ReadFile(h.configFile())
	if err != nil {
		t.Fatal(err)
	}
	before := []byte("insecure_roots: [" + maker(t).RootFile())
	if !bytes.Contains(config, before) {
		t.Fatalf("attestd's configuration has no roots:\n%s", config)
	}
	values := filepath.Join(h.state, "guests")
	h.guestValues(t, values)
	folder := h.collateral(t, roots)
	config = bytes.Replace(config, before, append(before, ", "+roots...), 1)
	references := []byte("local_references: [")
	config = bytes.Replace(config, references, append(references, values+"-sev-snp.yaml, "+values+"-tdx.yaml, "...), 1)
	write(t, h.configFile(), append(config, "collateral: {folder: "+folder+"}\n"...))
	h.start(t)
	return h
}

// guestValues writes down what guests of the test authorities have measured.
func (h *house) guestValues(t *testing.T, path string) {
	t.Helper()
	report, quote := forge.NewSNPReport("Genoa", 3), forge.NewTDQuote(4)
	write(t, path+"-sev-snp.yaml", fmt.Appendf(nil, `schema: attestd.reference-values.v1
name: snp-guest
format: sev-snp
values:
  - {name: "1", state: active, measurement: "%x"}
`, report.Measurement))
	write(t, path+"-tdx.yaml", fmt.Appendf(nil, `schema: attestd.reference-values.v1
name: tdx-guest
format: tdx
values:
  - {name: "1", state: active, registers: {MRTD: "%x", RTMR1: "%x", RTMR2: "%x"}}
`, quote.MRTD, quote.RTMR[1], quote.RTMR[2]))
}

// collateral is a folder with what the test authority over Intel's CPUs says of them today.
func (h *house) collateral(t *testing.T, roots string) string {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	tcb, identity := forge.NewTCBInfoConfig(), forge.NewIdentityConfig()
	tcb.Issued, tcb.Next = now.Add(-time.Hour), now.AddDate(0, 0, 29)
	identity.Issued, identity.Next = tcb.Issued, tcb.Next
	made := cpus(t)
	said, err := made.intel.Collateral(tcb, identity)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(h.state, "collateral")
	words := []string{"collateral", "import", "--folder", folder, "--insecure-roots", roots}
	for kind, list := range map[string][][]byte{
		"der": append(said.Certificates, made.intel.Processor.Raw, made.intel.Platform.Raw), "crl": said.CRLs, "json": said.Documents,
	} {
		for i, one := range list {
			file := filepath.Join(h.state, fmt.Sprintf("intel-%d.%s", i, kind))
			write(t, file, one)
			words = append(words, file)
		}
	}
	out, err := exec.CommandContext(t.Context(), attestdProgram.file(t), words...).CombinedOutput() //nolint:gosec // built
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return folder
}

// guest makes a node whose agent has the node attestor of these lines; id is its agent's.
func (h *house) guest(t *testing.T, m *machine, keys, lines string) *node {
	t.Helper()
	n := h.node(t, m, keys)
	n.agent = h.spire.prepare(t, agentConfig{
		plugins: n.keyManager(t) + pluginBlock(t, "NodeAttestor", "nodeattestor-agent", fmt.Sprintf(`tenant = %q
			trust_domain = %q
			runtime_dir = %q
			%s`, tenant, trustDomain, n.runtime, lines)) + n.workloadAttestor(t) + plainWorkloads,
	})
	return n
}

// tpmLines are the block of the machine's TPM.
func (m *machine) tpmLines(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf(`tpm {
				device = %q
				state_dir = %q
				event_log = %q
				ima_log = "off"
				ek_chain_file = %q
			}`, "swtpm:"+m.tpm.Socket(), m.state(), m.bootLog(), maker(t).IssuerFile())
}

// agentOf is the agent's id of an instance.
func agentOf(t *testing.T, format attestd.Format, instance string) string {
	t.Helper()
	name, err := subject.AgentID(trustDomain, format, attestd.Handle{
		Kind: attestd.HandleInstance, Value: instance,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(name)
}

// TestAGuestWithATPMIsKnownByIt: evidence of a CPU and a TPM for one challenge leads to an SVID that says
// so. Neither the server's plugin nor SPIRE's configuration knows anything of it.
func TestAGuestWithATPMIsKnownByIt(t *testing.T) {
	h := guestHouse(t)
	for _, row := range []struct {
		name, tpm, keys, grade, cpu, block string
		reports                            tsmfs.Reports
	}{
		{"SEV-SNP", "first", "tpm", "resident", "sev-snp", "snp", cpus(t).snpGuest()},
		{"TDX", "second", "memory", "bound", "tdx", "tdx", cpus(t).tdxGuest()},
	} {
		t.Run(row.name, func(t *testing.T) {
			fs := mounted(t, row.reports)
			m := newMachine(t, row.tpm, goldenBoot())
			h.owns(t, m)
			digest := m.identity(t).EKSHA256()
			m.id = agentOf(t, attestd.FormatComposite, "ek:"+hex.EncodeToString(digest[:]))
			n := h.guest(t, m, row.keys, fmt.Sprintf(`format = "composite"
			composite {
				cpu = %q
			}
			%s {
				path = %q
			}
			%s`, row.cpu, row.block, fs.Folder(), m.tpmLines(t)))
			h.spire.cached(t)
			n.start(t)
			jwt := n.workload.awaitJWT(t, "shop")
			for name, want := range map[string]any{
				"attested": true, "tenant": tenant, "tee": "composite", "key_grade": row.grade,
				"devices": "cpu." + row.cpu + "_vtpm.tpm", "weakest_edge": "simultaneous",
			} {
				if got := jwt.Claims[name]; got != want {
					t.Errorf("claim %s is %v, want %v", name, got, want)
				}
			}
			h.wantSelectors(t, m.id, "device-cpu:"+row.cpu, "device-vtpm:tpm", "edge:simultaneous")
			if fs.Made() == 0 {
				t.Error("nobody asked the CPU for a report")
			}
		})
	}
}

// TestACPUAloneGetsNoIdentity: its evidence is good and names no instance, so it is nobody's.
func TestACPUAloneGetsNoIdentity(t *testing.T) {
	h := guestHouse(t)
	for _, row := range []struct {
		format, block string
		reports       tsmfs.Reports
	}{
		{"sev-snp", "snp", cpus(t).snpGuest()}, {"tdx", "tdx", cpus(t).tdxGuest()},
	} {
		t.Run(row.format, func(t *testing.T) {
			fs := mounted(t, row.reports)
			n := h.guest(t, newMachine(t, "first", goldenBoot()), "memory", fmt.Sprintf(`format = %q
			%s {
				path = %q
			}`, row.format, row.block, fs.Folder()))
			before := len(h.spire.said.String())
			n.agent.run(t)
			if !until(startLimit, func() bool {
				return strings.Contains(n.agent.said.String(), "attestd): refused")
			}) {
				t.Errorf("the agent was not refused:\n%s", lastLines(n.agent.said.String(), 5))
			}
			if n.agent.attested() {
				t.Error("the agent was attested")
			}
			if !until(startLimit, func() bool {
				return strings.Contains(h.spire.said.String()[before:], "the machine is nobody's")
			}) {
				t.Errorf("the SPIRE server's log does not say why:\n%s", lastLines(h.spire.said.String(), 5))
			}
			if fs.Made() == 0 {
				t.Error("nobody asked the CPU for a report")
			}
		})
	}
}

// refused waits until the agent was refused, and returns what attestd says about it.
func (n *node) refused(t *testing.T) wire.Why {
	t.Helper()
	const ask = "ask: attestd why "
	var appraisal string
	if !until(startLimit, func() bool {
		_, rest, found := strings.Cut(n.agent.said.String(), ask)
		appraisal, _, _ = strings.Cut(rest, "\"")
		return found
	}) {
		t.Fatalf("the agent was not refused:\n%s", lastLines(n.agent.said.String(), 5))
	}
	why, err := n.house.root.Why(t.Context(), appraisal)
	if err != nil {
		t.Fatal(err)
	}
	return why
}

func lastLines(text string, number int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-number):], "\n")
}

// TestAnAzureVMIsKnownByItsID: the paravisor's report vouches for the virtual TPM's key.
func TestAnAzureVMIsKnownByItsID(t *testing.T) {
	h := guestHouse(t)
	m := newMachine(t, "first", goldenBoot())
	authority := cpus(t).amd
	var certificates [][]byte
	var vm string
	err := paravisor.Equip(m.tpm, func(ak *rsa.PublicKey) ([]byte, error) {
		claims := forge.NewHCLClaims(ak, nil)
		claims.Config.Thumbprint = "" // an index of swtpm's takes 2,048 bytes, and Azure's report has more
		vm = claims.Config.ID
		report, chain, err := authority.AzureSNP("Genoa", claims, nil)
		certificates = chain
		return append(report, make([]byte, 2048-len(report))...), err
	})
	if err != nil {
		t.Fatal(err)
	}
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metadata/THIM/amd/certification" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		texts := [2]string{}
		for i, one := range certificates {
			texts[i] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one}))
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"vcekCert": texts[0], "certificateChain": texts[1]})
	}))
	defer host.Close()
	// The VM is the tenant's by the list that the operator has of Azure: az vm list.
	done, err := h.root.Import(t.Context(), wire.Import{
		Kind: "azure", Tenant: tenant, Source: "vms.json",
		Document: fmt.Appendf(nil, `[{"name": "vm-1", "vmId": %q}]`, strings.ToLower(vm)),
	})
	if err != nil || done.Added != 1 {
		t.Fatalf("imported %+v: %v", done, err)
	}
	m.id = agentOf(t, attestd.FormatAzureVTPM, "azure:"+strings.ToLower(vm))
	n := h.guest(t, m, "memory", fmt.Sprintf(`format = "azure-vtpm"
			azure {
				device = %q
				event_log = %q
				metadata = %q
			}`, "swtpm:"+m.tpm.Socket(), m.bootLog(), host.URL))
	h.spire.cached(t)
	n.start(t)
	jwt := n.workload.awaitJWT(t, "shop")
	for name, want := range map[string]any{
		"attested": true, "tenant": tenant, "tee": "azure-vtpm", "key_grade": "bound",
		"devices": "cpu.sev-snp_vtpm.tpm", "weakest_edge": "cryptographic",
	} {
		if got := jwt.Claims[name]; got != want {
			t.Errorf("claim %s is %v, want %v", name, got, want)
		}
	}
	h.wantSelectors(t, m.id, "device-cpu:sev-snp", "device-vtpm:tpm", "edge:cryptographic")
}

// wantSelectors wants SPIRE to have these selectors of attestd's for an agent, among others.
func (h *house) wantSelectors(t *testing.T, agent string, want ...string) {
	t.Helper()
	known := h.spire.spireAgentOf(t, agent)
	if known.GetAttestationType() != "attestd" {
		t.Fatalf("SPIRE knows the agent as %v", known)
	}
	var got []string
	for _, one := range known.GetSelectors() {
		got = append(got, one.GetValue())
	}
	for _, one := range want {
		if !slices.Contains(got, one) {
			t.Errorf("there is no selector %q among %q", one, got)
		}
	}
}
