package azure_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/azure"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/internal/swtpm/paravisor"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

var _ attester.Attester = (*azure.VM)(nil)

// made are the parts that take seconds to make.
var made struct {
	ca       *swtpm.CA
	template *swtpm.TPM
	amd      *forge.AMD
	intel    *forge.Intel
	pck      forge.PCK
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	folder, err := os.MkdirTemp("", "azure")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if made.ca, err = swtpm.NewCA(folder); err != nil {
		return 1, err
	}
	if made.template, err = made.ca.Manufacture(context.Background(), "template"); err != nil {
		return 1, err
	}
	defer func() { _ = made.template.Close() }()
	if made.amd, err = forge.NewAMD(forge.AMDConfig{Line: "Milan"}); err != nil {
		return 1, err
	}
	if made.intel, err = forge.NewIntel(forge.IntelConfig{}); err != nil {
		return 1, err
	}
	if made.pck, err = made.intel.IssuePCK(forge.NewPCKConfig()); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// machines counts them, for their names.
var machines atomic.Int32

// machine is a VM: its virtual TPM, and what the host would say of its CPU.
type machine struct {
	tpm          *swtpm.TPM
	certificates [][]byte
	report       []byte // the TDREPORT that the host's service quotes
	quote        []byte
}

// newMachine is a VM that was just started; on Intel where tdx is set.
func newMachine(t *testing.T, tdx bool, edit func(index []byte) []byte) *machine {
	t.Helper()
	m := &machine{}
	var err error
	if m.tpm, err = made.template.Clone(fmt.Sprintf("vm-%d", machines.Add(1))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.tpm.Close() })
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	err = paravisor.Equip(m.tpm, func(ak *rsa.PublicKey) ([]byte, error) {
		claims := forge.NewHCLClaims(ak, nil)
		claims.Config.Thumbprint = "" // an index of swtpm's takes 2,048 bytes, and Azure's report has more
		var report []byte
		var err error
		if tdx {
			report, m.quote, err = forge.AzureTDX(made.pck, claims, nil)
			m.report = report[32:][:1024]
		} else {
			report, m.certificates, err = made.amd.AzureSNP("Milan-B0", claims, nil)
		}
		index := append(report, make([]byte, 2048-len(report))...)
		if edit != nil {
			index = edit(index)
		}
		return index, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// host is what a VM's host answers.
type host struct {
	t     *testing.T
	m     *machine
	calls atomic.Int32
	// instead answers a call, counted from 1, where it returns true.
	instead func(w http.ResponseWriter, r *http.Request, call int32) bool
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := h.calls.Add(1)
	if h.instead != nil && h.instead(w, r, call) {
		return
	}
	if r.Header.Get("Metadata") != "true" {
		h.t.Error("a call without the header that the metadata service demands")
	}
	switch r.Method + " " + r.URL.Path {
	case "POST /acc/tdquote":
		var ask struct {
			Report string `json:"report"`
		}
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			h.t.Error(err)
		}
		report, err := base64.RawURLEncoding.DecodeString(ask.Report)
		if err != nil || !bytes.Equal(report, h.m.report) {
			h.t.Errorf("asked to quote %d bytes, %v", len(report), err)
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"quote": base64.URLEncoding.EncodeToString(
			append(bytes.Clone(h.m.quote), 0, 0))})
	case "GET /metadata/THIM/amd/certification":
		var texts []string
		for _, one := range h.m.certificates {
			texts = append(texts, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one})))
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"vcekCert": texts[0], "tcbm": "DB18000000000004", "certificateChain": strings.Join(texts[1:], ""),
			"cacheControl": "86400",
		})
	default:
		h.t.Errorf("%s %s", r.Method, r.URL.Path)
	}
}

// vm is the machine with its host; instead may be nil.
func (m *machine) vm(
	t *testing.T, instead func(http.ResponseWriter, *http.Request, int32) bool,
) (*azure.VM, *host) {
	t.Helper()
	answers := &host{t: t, m: m, instead: instead}
	server := httptest.NewServer(answers)
	t.Cleanup(server.Close)
	device, err := tpm.Open("swtpm:"+m.tpm.Socket(), tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	vm, err := azure.Open(device, azure.Options{Metadata: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return vm, answers
}

func freshness() []byte { return bytes.Repeat([]byte{7}, 32) }

func TestAVMGivesWhatItsParavisorAndItsHostSay(t *testing.T) {
	for _, row := range []struct {
		name string
		tdx  bool
	}{{"SEV-SNP", false}, {"TDX", true}} {
		t.Run(row.name, func(t *testing.T) {
			m := newMachine(t, row.tdx, nil)
			vm, _ := m.vm(t, nil)
			for range 2 {
				evidence, err := vm.Collect(t.Context(), attester.Request{Freshness: freshness()})
				if err != nil {
					t.Fatal(err)
				}
				if evidence.Format != attestd.FormatAzureVTPM || len(evidence.Notes) != 0 {
					t.Errorf("format %q, notes %q", evidence.Format, evidence.Notes)
				}
				parts, err := azureevidence.Parse(evidence.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(parts.TDQuote, m.quote) || len(parts.Certificates) != len(m.certificates) {
					t.Errorf("a quote of %d bytes, %d certificates", len(parts.TDQuote), len(parts.Certificates))
				}
				chip, err := tpmevidence.Parse(parts.TPM)
				if err != nil || chip.EKPublic != nil || chip.EKCertificate != nil || len(chip.PCRs) != 1 {
					t.Errorf("of the TPM: %+v, %v", chip, err)
				}
				accept(t, evidence.Bytes)
			}
		})
	}
}

// TestNothingIsMadeInTheTPM: the paravisor's keys are used, and none is added.
func TestNothingIsMadeInTheTPM(t *testing.T) {
	m := newMachine(t, false, nil)
	vm, _ := m.vm(t, nil)
	if _, err := vm.Collect(t.Context(), attester.Request{Freshness: freshness()}); err != nil {
		t.Fatal(err)
	}
	device, err := tpm.Open("swtpm:"+m.tpm.Socket(), tpm.Options{AKHandle: tpm.DefaultAKHandle})
	if err != nil {
		t.Fatal(err)
	}
	_, err = device.QuotePlatform(t.Context(), tpm.PlatformRequest{
		AKHandle: tpm.DefaultAKHandle, Freshness: freshness(),
	})
	if err == nil || !strings.Contains(err.Error(), "left no attestation key at 0x81010020") {
		t.Errorf("a key of ours: %v", err)
	}
}

func TestAHostThatIsBusyIsAskedAgain(t *testing.T) {
	m := newMachine(t, true, nil)
	vm, answers := m.vm(t, func(w http.ResponseWriter, _ *http.Request, call int32) bool {
		if call == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
		} else if call == 2 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return call < 3
	})
	if _, err := vm.Collect(t.Context(), attester.Request{Freshness: freshness()}); err != nil {
		t.Error(err)
	}
	if calls := answers.calls.Load(); calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}

// TestAHostThatGivesNoCertificates: the verifier can have them from AMD.
func TestAHostThatGivesNoCertificates(t *testing.T) {
	m := newMachine(t, false, nil)
	for name, body := range map[string]string{
		"no such service": "", "something else": `{"vcekCert": "here"}`, "nothing": `{}`, "no JSON": "<html>",
	} {
		vm, _ := m.vm(t, func(w http.ResponseWriter, _ *http.Request, _ int32) bool {
			if body == "" {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write([]byte(body))
			return true
		})
		ctx, cancel := context.WithCancel(t.Context())
		evidence, err := vm.Collect(ctx, attester.Request{Freshness: freshness()})
		cancel()
		if err != nil || len(evidence.Notes) != 1 || !strings.Contains(evidence.Notes[0], "no certificates of the chip") {
			t.Errorf("%s: notes %q, %v", name, evidence.Notes, err)
			continue
		}
		if parts, err := azureevidence.Parse(evidence.Bytes); err != nil || len(parts.Certificates) != 0 {
			t.Errorf("%s: %d certificates, %v", name, len(parts.Certificates), err)
		}
	}
}

func TestAHostThatGivesNoQuoteIsAnError(t *testing.T) {
	m := newMachine(t, true, nil)
	other, err := forge.NewTDQuote(4).Sign(made.pck)
	if err != nil {
		t.Fatal(err)
	}
	say := func(quote []byte) string {
		return `{"quote": "` + base64.RawURLEncoding.EncodeToString(quote) + `"}`
	}
	for _, row := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"a refusal", http.StatusBadRequest, "bad report", `status 400: "bad report"`},
		{"a redirect", http.StatusFound, "", "status 302"},
		{"no base64", http.StatusOK, `{"quote": "!"}`, "not in base64"},
		{"nothing", http.StatusOK, `{}`, "or empty"},
		{"a quote of another machine", http.StatusOK, say(other), "over another report than the paravisor's"},
		{"half a quote", http.StatusOK, say(other[:300]), "the quote has 300 bytes"},
		{"the report itself", http.StatusOK, say(m.report), "of TEE type"},
		{"too much", http.StatusOK, strings.Repeat(" ", 300<<10), "more than 262144 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			vm, _ := m.vm(t, func(w http.ResponseWriter, _ *http.Request, _ int32) bool {
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.body))
				return true
			})
			evidence, err := vm.Collect(t.Context(), attester.Request{Freshness: freshness()})
			if err == nil || !strings.Contains(err.Error(), row.want) || evidence.Bytes != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestReportsThatAreNoneAreRefused(t *testing.T) {
	for _, row := range []struct {
		name string
		edit func(index []byte) []byte
		want string
	}{
		{"something else", func(i []byte) []byte { i[0] = 'X'; return i }, "no HCL report"},
		{"a kind that is not served", func(i []byte) []byte { i[32+1184+8] = 3; return i }, "of kind 3"},
		{"half a report", func(i []byte) []byte { return i[:1000] }, "HCL report of"},
	} {
		t.Run(row.name, func(t *testing.T) {
			vm, answers := newMachine(t, false, row.edit).vm(t, nil)
			_, err := vm.Collect(t.Context(), attester.Request{Freshness: freshness()})
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if answers.calls.Load() != 0 {
				t.Error("the host was asked all the same")
			}
		})
	}
}

func TestATPMWithoutAParavisorIsRefused(t *testing.T) {
	chip, err := made.template.Clone("plain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chip.Close() })
	if err := chip.Start(); err != nil {
		t.Fatal(err)
	}
	vm, _ := (&machine{tpm: chip}).vm(t, nil)
	var caller *attestd.CallerError
	_, err = vm.Collect(t.Context(), attester.Request{Freshness: freshness()})
	if !errors.As(err, &caller) || !strings.Contains(err.Error(), "no NV index 0x01400001") {
		t.Errorf("got %v", err)
	}
	for _, row := range []struct {
		ask  attester.Request
		want string
	}{
		{attester.Request{}, "0 bytes"}, {attester.Request{Freshness: make([]byte, 31)}, "31 bytes"},
		{attester.Request{Freshness: freshness(), Key: []byte("key")}, "no field for a key"},
	} {
		_, err := vm.Collect(t.Context(), row.ask)
		if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want %q", err, row.want)
		}
	}
	for _, base := range []string{"https://169.254.169.254", "169.254.169.254", "http://", "http://u@h", "http://h/x"} {
		if _, err := azure.Open(nil, azure.Options{Metadata: base}); !errors.As(err, &caller) {
			t.Errorf("%s: got %v", base, err)
		}
	}
}
